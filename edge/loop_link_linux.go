package edge

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// open begins the exchange of the request whose head of n octets is there.
func (f *inbound) open(n int) {
	t := f.task
	t.begin(t.got[t.gr:t.gw], n)
	if f.beyond() {
		f.handOver()
		return
	}
	t.recall.renew()
	t.sent, t.part, t.begun, t.uploading, t.ended, t.took, t.interims = false, false, false, false, false, 0, 0
	t.rest = t.rest[:0]
	f.until(0)
	answer := t.open(f.service.engine.edge, f.service.listener, f.peer)
	t.exchange.asker = f
	if answer.Status != 0 {
		t.gr += t.head
		f.answer(answer, "", t.closingUnread(answer, f.service.draining.Load()))
		return
	}
	f.gather()
}

// gather reads a small body that may have to be sent again, then asks for a server.
func (f *inbound) gather() {
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
	f.stage = linking
	f.follow(t.exchange.start())
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
	closing := !t.whole || t.work.closing(f.service.draining.Load())
	t.gr += t.head + t.passed + t.tail
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
	secure, address := balance.SplitAddress(t.exchange.grant.Address)
	route := t.exchange.route
	switch {
	case route.ServerProtocol == HTTP2:
		f.linkStem(address, secure)
		return
	case secure || route.ServerTLS != nil:
		f.service.listener.expectSecure(route)
		t.exchange.abandon()
		f.handOver()
		return
	}
	b := l.backs.take(address)
	// A request that cannot be repeated is not trusted to a connection whose end may have
	// been told in this very turn, and none to one whose server has spoken unasked.
	for b != nil && (b.early != nil || !flight.Idempotent(t.exchange.head.method) && !b.quiet()) {
		b.close()
		b = l.backs.take(address)
	}
	f.stage, t.since = linking, l.now
	if b == nil {
		var err error
		if b, err = l.dial(address); err != nil {
			f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
			return
		}
		if b == nil {
			f.stage = lent
			l.dialAside(t.recall.context(), address, func(fd int, err error) { f.dialled(fd, address, err) })
			return
		}
	}
	f.attach(b)
}

func (f *inbound) attach(b *back) {
	f.back, b.inbound = b, f
	f.carry()
}

// dialled goes on with a connection that was made elsewhere.
func (f *inbound) dialled(fd int, address string, err error) {
	f.stage = linking
	if fd >= 0 && f.task.recall.left() {
		_ = unix.Close(fd) // nothing was sent
		f.gone()
		return
	}
	var b *back
	if err == nil {
		b, err = f.loop.adopt(fd, address, false)
	}
	if err != nil {
		f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
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
	t.out = l.out
	if b.shoot != nil {
		b.shoot.begin(t)
	} else {
		t.compose()
	}
	n, err := t.up.write(&b.end, t.out)
	l.lay(&t.work)
	t.part = n > 0 || b.shoot != nil
	switch {
	case err == nil:
	case b.used && n == 0: // the server had closed it
		f.detach()
		t.up.reset(l)
		f.link()
		return false
	default:
		f.failed(flight.Failure{Sent: n > 0}, os.NewSyscallError("write", err))
		return false
	}
	t.sent, t.uploading, t.since = true, !t.whole || !t.up.empty(), l.now
	t.work.in, t.work.r, t.work.w = l.shared, headRoom, headRoom
	t.awaitResponse()
	if !t.whole {
		t.rest = append(t.rest[:0], t.buf[t.head+t.passed:]...)
	}
	return true
}

// failed says that the link came to nothing, and tries what follows from that.
func (f *inbound) failed(why flight.Failure, err error) {
	t := f.task
	f.detach()
	t.up.reset(f.loop)
	t.sent, t.uploading = false, false
	f.stage = linking
	f.follow(t.exchange.failed(why, err))
}

// failure is what is known of a link that breaks before its response.
func (f *inbound) failure(err error) flight.Failure {
	t := f.task
	return flight.Failure{Sent: t.part && err != errNotTaken && !f.back.unheard(), Spent: t.took > 0, Late: errors.Is(err, os.ErrDeadlineExceeded)}
}

// await sets the time by which the next thing must happen.
func (f *inbound) await() {
	t, b, l := f.task, f.back, f.loop
	if !t.uploading {
		f.watchClient()
		if f.fd < 0 {
			return
		}
	}
	idle, due := f.service.listener.IdleTimeout, balance.Instant(0)
	switch cfg := &f.service.engine.edge.cfg; {
	case b.connecting:
		due = t.since.Add(cfg.ConnectTimeout)
	case !t.down.empty() || !t.up.empty():
		due = l.now.Add(idle)
	case t.uploading && f.branch != nil && f.branch.chunked: // both may have a conversation, with silences
	case t.uploading:
		due = t.since.Add(idle)
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
	case t.begun:
		f.broken(os.ErrDeadlineExceeded)
	case t.uploading && t.up.empty():
		f.badBody(os.ErrDeadlineExceeded)
	default:
		f.failed(f.failure(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded)
	}
}
