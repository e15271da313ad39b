package edge

import (
	"context"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// A loop asks for a server in one of three ways, whichever its picker supports. The picker may answer at once.
// Or the loop polls the picker's connections itself: the asks of one iteration are sent in one write at its
// end, and the loop reads the answers. Or a goroutine waits in place of the loop.

// pickWaiter is a client's connection that waits for the answer to a pick.
type pickWaiter interface {
	// setAsyncPick records the pick in progress; nil: none.
	setAsyncPick(*asyncPick)
	// onPick continues with the answer.
	onPick(grant balance.Grant, err error)
}

// asyncPick is an ask in progress over a connection.
type asyncPick struct {
	client.Ask
	loop     *loop
	waiter   pickWaiter
	exchange *exchange // the waiter's
}

// Answered implements client.Asker.
func (q *asyncPick) Answered(g balance.Grant, err error) {
	q.loop.post(message{waiter: q.waiter, async: q, grant: g, err: err})
}

// blockingPick is a reusable goroutine that waits for an answer in place of the loop. Idle ones are kept in
// loop.idlePicks.
type blockingPick struct {
	waiter   pickWaiter
	exchange *exchange                                    // the waiter's
	wait     func(context.Context) (balance.Grant, error) // nil: call the picker
	next     chan struct{}
}

// maxIdlePicks bounds idle blockingPicks and free asyncPicks.
const maxIdlePicks = 64

// startPick asks for w, whose exchange is x. answered: the answer is in x.pending or err; if not, a message
// brings it.
func (l *loop) startPick(w pickWaiter, x *exchange) (answered bool, err error) {
	e := l.engine
	var wait func(context.Context) (balance.Grant, error)
	if p := e.edge.immediate; p != nil {
		if x.tellsPickTime() {
			l.now = clock.Now()
			x.askedAt = l.now
		}
		later, err := p.TryPick(l.now, x.route.pool.name, &x.request, &x.pending)
		if later == nil {
			l.notePickTime(x)
			return true, err
		}
		wait = later
	}
	if wait != nil || e.edge.polled == nil || !l.startAsyncPick(w, x) {
		l.pickInBackground(w, x, wait)
	}
	return false, nil
}

// notePickTime records how long an immediate pick took. Unless the time is reported for this request, only one
// in timingSample is timed and the others count as equally fast: reading the clock takes a good part of the
// time of a decision.
func (l *loop) notePickTime(x *exchange) {
	if l.untimedPicks > 0 && !x.tellsPickTime() {
		l.untimedPicks--
		x.askedAt = l.now.Add(-l.pickTime)
		return
	}
	l.untimedPicks = timingSample - 1
	l.now = clock.Now()
	l.pickTime = l.now.Sub(x.askedAt)
}

const timingSample = 16

// startAsyncPick appends an ask to be sent at the end of the iteration. It returns false if the picker cannot
// be asked this way now.
func (l *loop) startAsyncPick(w pickWaiter, x *exchange) bool {
	var q *asyncPick
	if n := len(l.freeAsyncPicks); n > 0 {
		q, l.freeAsyncPicks = l.freeAsyncPicks[n-1], l.freeAsyncPicks[:n-1]
	} else {
		q = &asyncPick{loop: l}
		q.To = q
	}
	q.waiter, q.exchange = w, x
	w.setAsyncPick(q)
	if l.engine.edge.polled.Ask(x.route.pool.name, &x.request, &q.Ask) != nil {
		l.putAsyncPick(q)
		return false
	}
	return true
}

// putAsyncPick frees a settled one.
func (l *loop) putAsyncPick(q *asyncPick) {
	q.waiter.setAsyncPick(nil)
	if q.waiter, q.exchange = nil, nil; len(l.freeAsyncPicks) < maxIdlePicks {
		l.freeAsyncPicks = append(l.freeAsyncPicks, q)
	}
}

// cancelPick cancels a pick; q is its asyncPick or nil. If no other answer comes, a message brings the cause.
func (l *loop) cancelPick(r *cancellation, q *asyncPick, cause error) {
	r.cancel(cause)
	if q != nil && l.engine.edge.polled.Withdraw(&q.Ask) {
		l.post(message{waiter: q.waiter, async: q, err: cause})
	}
}

// pickInBackground has a goroutine call wait, or the picker if wait is nil.
func (l *loop) pickInBackground(w pickWaiter, x *exchange, wait func(context.Context) (balance.Grant, error)) {
	if n := len(l.idlePicks); n > 0 {
		a := l.idlePicks[n-1]
		l.idlePicks = l.idlePicks[:n-1]
		a.waiter, a.exchange, a.wait = w, x, wait
		a.next <- struct{}{}
		return
	}
	a := &blockingPick{waiter: w, exchange: x, wait: wait, next: make(chan struct{}, 1)}
	l.engine.background.Go(func() { a.run(l) })
}

// run picks until next is closed.
func (a *blockingPick) run(l *loop) {
	for {
		x := a.exchange
		var grant balance.Grant
		var err error
		if a.wait != nil {
			grant, err = a.wait(x.cancel.context())
		} else {
			grant, err = l.engine.edge.picker.Pick(x.cancel.context(), x.route.pool.name, &x.request)
		}
		l.post(message{waiter: a.waiter, blocking: a, grant: grant, err: err})
		if _, more := <-a.next; !more {
			return
		}
	}
}

// deliverPick passes an answer on.
func (l *loop) deliverPick(m *message) {
	switch {
	case m.async != nil:
		x := m.async.exchange
		l.putAsyncPick(m.async)
		if m.err != nil && client.TryAnotherMaster(m.err) && !x.cancel.clientLeft() {
			l.pickInBackground(m.waiter, x, nil) // it can wait for another leader
			return
		}
	case len(l.idlePicks) < maxIdlePicks:
		m.blocking.waiter, m.blocking.exchange, m.blocking.wait = nil, nil, nil
		l.idlePicks = append(l.idlePicks, m.blocking)
	default:
		close(m.blocking.next)
	}
	m.waiter.onPick(m.grant, m.err)
}

// ask implements asker.
func (f *clientConn) ask(x *exchange) (answered bool, err error) {
	if answered, err = f.loop.startPick(f, x); !answered {
		f.state = stateWaiting
		f.loop.timers.set(&f.timer, x.request.Deadline.Add(askGrace))
		f.watchClient()
	}
	return answered, err
}

// cancelPick cancels a pick or a dial.
func (f *clientConn) cancelPick(cause error) {
	f.loop.cancelPick(&f.req.cancel, f.asyncPick, cause)
}

// setAsyncPick implements pickWaiter.
func (f *clientConn) setAsyncPick(q *asyncPick) { f.asyncPick = q }

// onPick implements pickWaiter.
func (f *clientConn) onPick(grant balance.Grant, err error) {
	f.state = stateForwarding
	f.setTimeout(0)
	f.takeStep(f.req.exchange.resumePick(grant, err))
}

// masterConn is a connection to a master that the loop reads.
type masterConn struct {
	conn
	read func() (more bool)
}

// PollConn implements client.Driver.
func (l *loop) PollConn(descriptor *fd.FD, read func() (more bool)) bool {
	own := descriptor.Move()
	if l.post(message{do: func() { l.addMasterConn(&own, read) }}) {
		return true
	}
	own.Close()
	return false
}

func (l *loop) addMasterConn(descriptor *fd.FD, read func() (more bool)) {
	w := &masterConn{read: read}
	w.conn.owner = w
	if l.stopped || l.register(&w.conn, descriptor, fd.Readable|fd.PeerClosed|fd.EdgeTriggered) != nil {
		descriptor.Close()
		l.engine.edge.polled.Unpoll(l)
		return
	}
	l.masterConns = append(l.masterConns, w)
	w.readable = true // there may be something already
	w.onReady()
}

// close ends the registration only: the client has the connection too, and may go on with it.
func (w *masterConn) close() {
	if w.isOpen() {
		own := w.detach()
		own.Close()
	}
}

// onReady implements the conn's owner.
func (w *masterConn) onReady() {
	for w.readable {
		if !w.read() {
			l := w.loop
			l.masterConns = slices.DeleteFunc(l.masterConns, func(other *masterConn) bool { return other == w })
			w.close()
			return
		}
		w.readable = w.hup // without a hang-up everything has been read
	}
}
