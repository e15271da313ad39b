package proxy

import (
	"context"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// A loop asks for a server in one of three ways, whichever its picker supports. The picker may answer at once.
// Or the loop polls the picker's connections itself: the asks of one iteration are sent in one write at its
// end, and the loop reads the answers. Or a goroutine waits in place of the loop.

// asyncPick is an ask in progress over a connection.
type asyncPick struct {
	client.Ask
	worker   *worker
	waiter   linker
	exchange *exchange.Exchange // the waiter's
	answer   pickAnswer
}

// pickAnswer is the answer to a pick, or why there is none.
type pickAnswer struct {
	grant balance.Grant
	err   error
}

// Answered implements client.Asker.
func (q *asyncPick) Answered(g balance.Grant, err error) {
	q.answer = pickAnswer{g, err}
	q.worker.Post(q)
}

// blockingPick is a reusable goroutine that waits for an answer in place of the loop. Idle ones are kept in
// worker.idlePicks.
type blockingPick struct {
	waiter   linker
	exchange *exchange.Exchange                           // the waiter's
	wait     func(context.Context) (balance.Grant, error) // nil: call the picker
	next     chan struct{}
	answer   pickAnswer
	worker   *worker
}

// maxIdlePicks bounds idle blockingPicks and free asyncPicks.
const maxIdlePicks = 64

// startPick asks for w, whose exchange is x. answered: the answer is in x.Pending or err; if not, a message
// brings it.
func (l *worker) startPick(w linker, x *exchange.Exchange) (answered bool, err error) {
	e := l.engine
	var wait func(context.Context) (balance.Grant, error)
	if p := e.immediate; p != nil {
		if x.TellsPickTime() {
			l.Now = clock.Now()
			x.AskedAt = l.Now
		}
		later, err := p.TryPick(l.Now, x.AskedPool(), &x.Request, &x.Pending)
		if later == nil {
			l.notePickTime(x)
			return true, err
		}
		wait = later
	}
	if wait != nil || e.polled == nil || !l.startAsyncPick(w, x) {
		l.pickInBackground(w, x, wait)
	}
	return false, nil
}

// notePickTime records how long an immediate pick took. Unless the time is reported for this request, only one
// in timingSample is timed and the others count as equally fast: reading the clock takes a good part of the
// time of a decision.
func (l *worker) notePickTime(x *exchange.Exchange) {
	if l.UntimedPicks > 0 && !x.TellsPickTime() {
		l.UntimedPicks--
		x.AskedAt = l.Now.Add(-l.PickTime)
		return
	}
	l.UntimedPicks = timingSample - 1
	l.Now = clock.Now()
	l.PickTime = l.Now.Sub(x.AskedAt)
}

const timingSample = 16

// startAsyncPick appends an ask to be sent at the end of the iteration. It returns false if the picker cannot
// be asked this way now.
func (l *worker) startAsyncPick(w linker, x *exchange.Exchange) bool {
	var q *asyncPick
	if n := len(l.freeAsyncPicks); n > 0 {
		q, l.freeAsyncPicks = l.freeAsyncPicks[n-1], l.freeAsyncPicks[:n-1]
	} else {
		q = &asyncPick{worker: l}
		q.To = q
	}
	q.waiter, q.exchange = w, x
	w.setAsyncPick(q)
	if l.engine.polled.Ask(x.AskedPool(), &x.Request, &q.Ask) != nil {
		l.putAsyncPick(q)
		return false
	}
	return true
}

// putAsyncPick frees a settled one.
func (l *worker) putAsyncPick(q *asyncPick) {
	q.waiter.setAsyncPick(nil)
	q.answer = pickAnswer{}
	if q.waiter, q.exchange = nil, nil; len(l.freeAsyncPicks) < maxIdlePicks {
		l.freeAsyncPicks = append(l.freeAsyncPicks, q)
	}
}

// cancelPick cancels a pick; q is its asyncPick or nil. If no other answer comes, a message brings the cause.
func (l *worker) cancelPick(r *exchange.Cancellation, q *asyncPick, cause error) {
	r.Cancel(cause)
	if q != nil && l.engine.polled.Withdraw(&q.Ask) {
		q.answer = pickAnswer{err: cause}
		l.Post(q)
	}
}

// pickInBackground has a goroutine call wait, or the picker if wait is nil.
func (l *worker) pickInBackground(w linker, x *exchange.Exchange, wait func(context.Context) (balance.Grant, error)) {
	if n := len(l.idlePicks); n > 0 {
		a := l.idlePicks[n-1]
		l.idlePicks = l.idlePicks[:n-1]
		a.waiter, a.exchange, a.wait = w, x, wait
		a.next <- struct{}{}
		return
	}
	a := &blockingPick{waiter: w, exchange: x, wait: wait, next: make(chan struct{}, 1), worker: l}
	l.engine.background.Go(a.run)
}

// run picks until next is closed.
func (a *blockingPick) run() {
	for l := a.worker; ; {
		x := a.exchange
		if a.wait != nil {
			a.answer.grant, a.answer.err = a.wait(x.Cancel.Context())
		} else {
			a.answer.grant, a.answer.err = l.engine.deps.Picker.Pick(x.Cancel.Context(), x.AskedPool(), &x.Request)
		}
		l.Post(a)
		if _, more := <-a.next; !more {
			return
		}
	}
}

// Deliver implements message: it passes the answer on.
func (q *asyncPick) Deliver() {
	l, w, x, a := q.worker, q.waiter, q.exchange, q.answer
	l.putAsyncPick(q)
	if a.err != nil && client.TryAnotherMaster(a.err) && !x.Cancel.ClientLeft() {
		l.pickInBackground(w, x, nil) // it can wait for another leader
		return
	}
	w.onPick(a.grant, a.err)
}

// Deliver implements message: it passes the answer on.
func (a *blockingPick) Deliver() {
	l, w, answer := a.worker, a.waiter, a.answer
	if len(l.idlePicks) < maxIdlePicks {
		a.waiter, a.exchange, a.wait, a.answer = nil, nil, nil, pickAnswer{}
		l.idlePicks = append(l.idlePicks, a)
	} else {
		close(a.next)
	}
	w.onPick(answer.grant, answer.err)
}

// masterConn is a connection to a master that the loop reads.
type masterConn struct {
	eventloop.Conn
	worker *worker
	read   func() (more bool)
}

// PollConn implements client.Driver.
func (l *worker) PollConn(descriptor *fd.FD, read func() (more bool)) bool {
	own := descriptor.Move()
	if l.Call(func() { l.addMasterConn(&own, read) }) {
		return true
	}
	own.Close()
	return false
}

func (l *worker) addMasterConn(descriptor *fd.FD, read func() (more bool)) {
	w := &masterConn{worker: l, read: read}
	w.Conn.Owner = w
	if l.Stopped || l.Register(&w.Conn, descriptor, fd.Readable|fd.PeerClosed|fd.EdgeTriggered) != nil {
		descriptor.Close()
		l.engine.polled.Unpoll(l)
		return
	}
	l.masterConns = append(l.masterConns, w)
	w.Readable = true // there may be something already
	w.OnReady()
}

// close ends the registration only: the client has the connection too, and may go on with it.
func (w *masterConn) close() {
	if w.IsOpen() {
		own := w.Detach()
		own.Close()
	}
}

// OnReady implements the conn's owner.
func (w *masterConn) OnReady() {
	for w.Readable {
		if !w.read() {
			l := w.worker
			l.masterConns = slices.DeleteFunc(l.masterConns, func(other *masterConn) bool { return other == w })
			w.close()
			return
		}
		w.Readable = w.PeerClosed // without a hang-up everything has been read
	}
}

// immediatePicker is a Picker that need not wait if the answer is there, nor read the clock.
type immediatePicker interface {
	// TryPick is Pick without waiting: if there is no answer yet, wait is not nil, waits as Pick would have,
	// and must be called. The request must not change until there is an answer. An immediate grant is stored
	// in g.
	TryPick(now balance.Instant, pool string, req *balance.Request, g *balance.Grant) (wait func(context.Context) (balance.Grant, error), err error)
}

// polledPicker is a Picker whose connections a loop can poll, as client.Masters is.
type polledPicker interface {
	Ask(pool string, req *balance.Request, a *client.Ask) error
	Withdraw(a *client.Ask) bool
	Flush(now balance.Instant, stays bool)
	Poll(d client.ConnPoller)
	Unpoll(d client.ConnPoller)
}
