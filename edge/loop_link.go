package edge

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// open begins the exchange of the request whose head of n bytes is there.
func (f *inbound) open(n int) {
	t := f.task
	t.begin(t.got[t.gr:t.gw], n)
	t.recall.renew()
	t.sent, t.probed, t.begun, t.uploading, t.ended, t.fresh, t.took, t.interims = false, false, false, false, false, false, 0, 0
	t.rest = t.rest[:0]
	f.until(0)
	t.shown = f.shown()
	answer := t.open(f.service.engine.edge, f.service.listener, f.peer)
	t.exchange.asker = f
	if answer.Status != 0 {
		t.gr += t.head
		f.answer(answer, "", t.closingUnread(answer, f.service.draining.Load()))
		return
	}
	f.gather()
}

// gather reads as much of the body as is to be there first, then asks for a server.
func (f *inbound) gather() {
	t := f.task
	if t.req.Framing != http1.NoBody && t.exchange.route.buffers(&t.exchange) {
		if f.bufferBody() {
			f.askForServer()
		}
		return
	}
	f.gatherSmall()
}

// askForServer begins the exchange's flight. As much of the body is there as was to be waited for.
func (f *inbound) askForServer() {
	f.stage = linking
	f.follow(f.task.exchange.start())
}

// gatherSmall reads a small body that may have to be sent again, where bodies are not read first.
func (f *inbound) gatherSmall() {
	t := f.task
	for !t.mayFrame(t.gw - t.gr) {
		f.stage = gathering
		if !f.readable {
			f.until(f.service.listener.IdleTimeout)
			return
		}
		switch n, err := f.fill(); {
		case err == syscall.EAGAIN:
		case err != nil:
			f.badBody(err)
			return
		case n == 0:
			f.badBody(io.EOF)
			return
		}
	}
	if err := t.frame(t.got[t.gr:t.gw], f.service.listener); err != nil {
		f.badBody(err)
		return
	}
	f.askForServer()
}

// badBody ends the exchange because the request's body could not be read.
func (f *inbound) badBody(err error) {
	t := f.task
	x := &t.exchange
	if x.started {
		x.gone()
	}
	f.detach()
	if x.status == 0 { // else it is too late to say anything
		if answer, detail, ok := unusable(err); ok {
			f.answer(answer, detail, true)
			return
		}
	}
	f.abort()
}

// follow takes the exchange's next step.
func (f *inbound) follow(step flight.Step) {
	switch step.Do {
	case flight.Wait: // the answer comes by letter
	case flight.Link:
		f.link()
	default:
		f.endWithout(step)
	}
}

// endWithout ends an exchange that got no response.
func (f *inbound) endWithout(step flight.Step) {
	t := f.task
	closing := !t.came() || t.work.closing(f.service.draining.Load())
	t.leaveRest()
	switch step.Do {
	case flight.Respond:
		f.answer(step.Answer, "", closing)
	case flight.Redirect:
		t.out = t.exchange.redirect(f.loop.out[:0], closing)
		f.say(closing)
	default: // the client has left
		f.abort()
	}
}

// link makes the connection to the server that was granted, or takes one.
func (f *inbound) link() {
	t, l := f.task, f.loop
	if t.recall.left() {
		f.gone()
		return
	}
	to := t.exchange.target()
	if t.exchange.route.ServerProtocol == HTTP2 {
		f.linkStem(to)
		return
	}
	var b *back
	if !t.fresh {
		b = l.backs.take(to)
	}
	// A request that cannot be repeated is not trusted to a connection whose end may have
	// been told in this very turn, and none to one whose server has spoken unasked.
	for b != nil && !b.fit(flight.Idempotent(t.exchange.head.method)) {
		b.close()
		b = l.backs.take(to)
	}
	f.stage, t.since = linking, l.now
	if b == nil {
		var err error
		if b, err = l.dial(to); err != nil {
			f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
			return
		}
		if b == nil {
			f.stage = lent
			f.until(0)
			l.dialAside(t.recall.context(), to, func(descriptor *fd.FD, secure *sealed, err error) { f.dialled(descriptor, secure, to, err) })
			f.watchClient()
			return
		}
	}
	f.attach(b)
}

func (f *inbound) attach(b *back) {
	f.back, b.inbound, b.before = b, f, b.accepted
	f.carry()
}

// dialled goes on with a connection that was made elsewhere.
func (f *inbound) dialled(descriptor *fd.FD, secure *sealed, to target, err error) {
	f.stage = linking
	if descriptor.IsOpen() && f.task.recall.left() { // nothing was sent
		f.gone()
		return
	}
	var b *back
	if err == nil {
		b, err = f.loop.adopt(descriptor, secure, to)
	}
	if err != nil {
		f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
	b.writable = true
	f.attach(b)
}

// detach parts from a server whose connection is of no more use.
func (f *inbound) detach() {
	if b := f.back; b != nil {
		f.back, b.inbound = nil, nil
		b.close()
	}
}

// carry moves the request to the server and the response to the client, as far as it
// goes now.
func (f *inbound) carry() {
	t, b := f.task, f.back
	stands, err := b.stands()
	switch {
	case err == errNotTaken:
		f.failed(f.failure(err), err)
	case err != nil:
		f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
	case !stands:
		f.await()
	case t.sent || f.send():
		if !t.uploading || f.upload() {
			f.receive()
		}
	}
}

// send sends what is there of the request; false: it did not go.
func (f *inbound) send() bool {
	t, b, l := f.task, f.back, f.loop
	if err := f.rewind(); err != nil {
		f.badBody(err)
		return false
	}
	t.out = l.out
	if b.shoot != nil {
		b.shoot.begin(t)
	} else {
		t.compose()
	}
	t.out = t.composeStored(t.out)
	_, err := t.up.write(&b.end, t.out)
	l.lay(&t.work)
	switch {
	case err == nil:
	case b.used && !f.maySent(): // the server had closed it
		f.detach()
		t.up.reset(l)
		f.link()
		return false
	default:
		f.failed(flight.Failure{Sent: f.maySent()}, os.NewSyscallError("write", err))
		return false
	}
	t.sent, t.uploading, t.since = true, !t.whole || !t.up.empty(), l.now
	t.pace.Stop()
	t.work.in, t.work.r, t.work.w = l.shared, headRoom, headRoom
	t.lookout.begin(f)
	t.awaitResponse()
	if !t.whole && !t.store.holds() {
		t.rest = append(t.rest[:0], t.buf[t.head+t.passed:]...)
	}
	return true
}

// failed says that the link came to nothing, and tries what follows from that.
func (f *inbound) failed(why flight.Failure, err error) {
	t := f.task
	f.detach()
	t.up.reset(f.loop)
	t.sent, t.uploading, t.ended = false, false, false
	f.stage = linking
	step := t.exchange.failed(why, err)
	t.fresh = step.Do == flight.Link
	f.follow(step)
}

// maySent reports whether the server may have got a part of the request. It rests on what the
// socket has taken, and not on what was written: that may wait for the socket, and go later.
func (f *inbound) maySent() bool {
	b := f.back
	if b.shoot != nil {
		return f.task.sent && !b.shoot.unheard
	}
	return b.mayHave(b.before)
}

// failure is what is known of a link that breaks before its response.
func (f *inbound) failure(err error) flight.Failure {
	t := f.task
	notTaken := err == errNotTaken
	return flight.Failure{
		Sent:     !notTaken && f.maySent(),
		Spent:    t.spent(),
		Late:     errors.Is(err, os.ErrDeadlineExceeded),
		NotTaken: notTaken,
		Kept:     notTaken && f.back.used,
	}
}

// await sets the time by which the next thing must happen.
func (f *inbound) await() {
	t, b, l := f.task, f.back, f.loop
	if !t.uploading {
		f.watchClient()
		if !f.isOpen() {
			return
		}
	}
	idle, due := f.service.listener.IdleTimeout, balance.Instant(0)
	switch cfg := &f.service.engine.edge.cfg; {
	case b.connecting:
		due = t.since.Add(cfg.ConnectTimeout)
	case !t.down.empty() || !t.up.empty():
		due = l.now.Add(idle)
		t.pace.Stop()
	case t.uploading && f.branch != nil && f.branch.chunked: // both may have a conversation, with silences
		due = f.paceDue()
	case t.uploading:
		if due = t.since.Add(idle); f.paceDue() != 0 {
			due = min(due, f.paceDue())
		}
	case !t.begun && cfg.ResponseTimeout > 0:
		due = t.since.Add(cfg.ResponseTimeout)
	}
	if f.leaving && (due == 0 || t.leaveAt < due) {
		due = t.leaveAt
	}
	l.wheel.set(&f.timer, due)
}

// late deals with what did not happen in time.
func (f *inbound) late() {
	t := f.task
	switch {
	case f.leaving && f.loop.now >= t.leaveAt:
		f.leave()
	case f.back.connecting:
		f.failed(flight.Failure{Unreachable: true}, os.ErrDeadlineExceeded)
	case !t.down.empty():
		f.gone()
	case t.uploading && t.pace.Over(f.loop.now):
		if f.keepsPace(&t.pace) {
			f.await()
		} else {
			f.badBody(os.ErrDeadlineExceeded)
		}
	case t.begun:
		f.broken(os.ErrDeadlineExceeded)
	case t.uploading && t.up.empty():
		f.badBody(os.ErrDeadlineExceeded)
	default:
		f.failed(f.failure(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded)
	}
}
