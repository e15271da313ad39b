package edge

import (
	"context"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// A loop asks for a server in one of three ways, whichever its picker has. The picker may
// know the answer at once. Or the loop drives the picker's connections itself: asks of one
// turn leave in one write at its end, and answers are read when the loop finds them there.
// Or a goroutine waits in the loop's place.

// waiter is a client's connection that waits for the answer to an ask.
type waiter interface {
	// questions tells which question is on its way for it; nil: none.
	questions(*question)
	// answered goes on with the answer.
	answered(grant balance.Grant, err error)
}

// question is an ask that is on its way over a connection.
type question struct {
	client.Ask
	loop     *loop
	waiter   waiter
	exchange *exchange // the waiter's
}

// Answered implements client.Asker.
func (q *question) Answered(g balance.Grant, err error) {
	q.loop.post(letter{asker: q.waiter, of: q, grant: g, err: err})
}

// asking is a goroutine that waits for answers in the place of a loop. One that has
// nothing to do waits for the next ask, so that none has to be started for each.
type asking struct {
	waiter   waiter
	exchange *exchange                                    // the waiter's
	wait     func(context.Context) (balance.Grant, error) // nil: ask the picker
	next     chan struct{}
}

// mostAsking is how many of them are kept, and how many questions.
const mostAsking = 64

// ask asks for w, whose exchange x is; false: it is answered later, by letter.
func (l *loop) ask(w waiter, x *exchange) (answered bool, err error) {
	e := l.engine
	var wait func(context.Context) (balance.Grant, error)
	if p := e.edge.prompt; p != nil {
		if x.tellsPickTime() {
			l.now = clock.Now()
			x.asked = l.now
		}
		later, err := p.Prompt(l.now, x.route.pool.name, &x.request, &x.offer)
		if later == nil {
			l.answeredAtOnce(x)
			return true, err
		}
		wait = later
	}
	if wait != nil || e.edge.driven == nil || !l.question(w, x) {
		l.askAside(w, x, wait)
	}
	return false, nil
}

// answeredAtOnce says how long an ask took that had not to wait. If nobody is told of this one,
// one in timedOf is timed, and the others are taken to have been as quick: reading the clock
// takes a good part of the time of a decision.
func (l *loop) answeredAtOnce(x *exchange) {
	if l.untimed > 0 && !x.tellsPickTime() {
		l.untimed--
		x.asked = l.now.Add(-l.askTook)
		return
	}
	l.untimed = timedOf - 1
	l.now = clock.Now()
	l.askTook = l.now.Sub(x.asked)
}

const timedOf = 16

// question puts an ask where the end of the turn takes it along; false: there is nobody
// to ask this way just now.
func (l *loop) question(w waiter, x *exchange) bool {
	var q *question
	if n := len(l.questions); n > 0 {
		q, l.questions = l.questions[n-1], l.questions[:n-1]
	} else {
		q = &question{loop: l}
		q.To = q
	}
	q.waiter, q.exchange = w, x
	w.questions(q)
	if l.engine.edge.driven.Ask(x.route.pool.name, &x.request, &q.Ask) != nil {
		l.putQuestion(q)
		return false
	}
	return true
}

// putQuestion takes one back that is settled.
func (l *loop) putQuestion(q *question) {
	q.waiter.questions(nil)
	if q.waiter, q.exchange = nil, nil; len(l.questions) < mostAsking {
		l.questions = append(l.questions, q)
	}
}

// recallAsk ends an ask, whose question q is if there is one. Its answer, if nothing
// else, comes by letter all the same.
func (l *loop) recallAsk(r *recall, q *question, cause error) {
	r.end(cause)
	if q != nil && l.engine.edge.driven.Withdraw(&q.Ask) {
		l.post(letter{asker: q.waiter, of: q, err: cause})
	}
}

// askAside has a goroutine wait for the answer, or ask.
func (l *loop) askAside(w waiter, x *exchange, wait func(context.Context) (balance.Grant, error)) {
	if n := len(l.askers); n > 0 {
		a := l.askers[n-1]
		l.askers = l.askers[:n-1]
		a.waiter, a.exchange, a.wait = w, x, wait
		a.next <- struct{}{}
		return
	}
	a := &asking{waiter: w, exchange: x, wait: wait, next: make(chan struct{}, 1)}
	l.engine.aside.Go(func() { a.run(l) })
}

// run asks until there is nobody to ask for.
func (a *asking) run(l *loop) {
	for {
		x := a.exchange
		var grant balance.Grant
		var err error
		if a.wait != nil {
			grant, err = a.wait(x.recall.context())
		} else {
			grant, err = l.engine.edge.picker.Pick(x.recall.context(), x.route.pool.name, &x.request)
		}
		l.post(letter{asker: a.waiter, by: a, grant: grant, err: err})
		if _, more := <-a.next; !more {
			return
		}
	}
}

// hear passes an answer on.
func (l *loop) hear(m *letter) {
	switch {
	case m.of != nil:
		x := m.of.exchange
		l.putQuestion(m.of)
		if m.err != nil && client.TryAnotherMaster(m.err) && !x.recall.left() {
			l.askAside(m.asker, x, nil) // who can wait for another leader
			return
		}
	case len(l.askers) < mostAsking:
		m.by.waiter, m.by.exchange, m.by.wait = nil, nil, nil
		l.askers = append(l.askers, m.by)
	default:
		close(m.by.next)
	}
	m.asker.answered(m.grant, m.err)
}

// ask implements asker.
func (f *inbound) ask(x *exchange) (answered bool, err error) {
	if answered, err = f.loop.ask(f, x); !answered {
		f.stage = lent
		f.loop.wheel.set(&f.timer, x.request.Deadline.Add(askGrace))
		f.watchClient()
	}
	return answered, err
}

// recallAsk ends an ask, or a look-up.
func (f *inbound) recallAsk(cause error) {
	f.loop.recallAsk(&f.task.recall, f.question, cause)
}

// questions implements waiter.
func (f *inbound) questions(q *question) { f.question = q }

// answered implements waiter.
func (f *inbound) answered(grant balance.Grant, err error) {
	f.stage = linking
	f.until(0)
	f.follow(f.task.exchange.resume(grant, err))
}

// wire is a connection to a master that the loop reads.
type wire struct {
	end
	read func() (more bool)
}

// Drive implements client.Driver.
func (l *loop) Drive(descriptor *fd.FD, read func() (more bool)) bool {
	own := descriptor.Move()
	if l.post(letter{do: func() { l.attend(&own, read) }}) {
		return true
	}
	own.Close()
	return false
}

func (l *loop) attend(descriptor *fd.FD, read func() (more bool)) {
	w := &wire{read: read}
	w.end.owner = w
	if l.stopped || l.watch(&w.end, descriptor, fd.Readable|fd.PeerClosed|fd.EdgeTriggered) != nil {
		descriptor.Close()
		l.engine.edge.driven.Undrive(l)
		return
	}
	l.wires = append(l.wires, w)
	w.readable = true // perhaps, and the edge of it is past
	w.ready()
}

// close ends the watch by itself: the client has the connection too, and may go on with it.
func (w *wire) close() {
	if w.isOpen() {
		own := w.leaveLoop()
		own.Close()
	}
}

// ready implements the end's owner.
func (w *wire) ready() {
	for w.readable {
		if !w.read() {
			l := w.loop
			l.wires = slices.DeleteFunc(l.wires, func(other *wire) bool { return other == w })
			w.close()
			return
		}
		w.readable = w.hup // else all there was has been read
	}
}
