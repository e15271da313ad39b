package edge

import (
	"io"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/poison"
)

// receive moves what has come from the server to the client, until one of them has to
// be waited for.
func (f *inbound) receive() {
	t, l := f.task, f.loop
	for turn := l.turn(); f.stage == linking; turn.Spend(limits.TurnCall) {
		if clear, err := t.down.flush(&f.end); err != nil {
			f.gone()
			return
		} else if !clear {
			break
		}
		b := f.back
		if !b.readable {
			break
		}
		if turn.Over(clock.Now) {
			l.soon(&f.end)
			break
		}
		if t.begun && t.passage.long() && t.work.r == t.work.w && f.bare() && f.back.bare() {
			if f.pull() {
				continue
			}
			break
		}
		l.room(&t.work, &t.private)
		room := t.work.in[t.work.w:]
		n, err := b.read(room[:f.readMost(len(room))])
		switch {
		case err == syscall.EAGAIN:
			continue
		case err != nil || n == 0:
			f.serverEnded(err)
			return
		}
		t.work.w += n
		t.exchange.heard(l.now)
		f.take()
	}
	if f.isOpen() && f.stage == linking {
		t.down.release(l)
		f.await()
	}
}

// room readies the buffer for a read: the loop's own or, if a part of something is
// kept, what that is kept in.
func (l *loop) room(w *work, private *[]byte) {
	if w.r == w.w {
		w.in, w.r, w.w = l.shared, headRoom, headRoom
		return
	}
	if w.w == len(w.in) {
		larger := make([]byte, 2*len(w.in))
		w.w = headRoom + copy(larger[headRoom:], w.in[w.r:w.w])
		w.r, w.in, *private = headRoom, larger, larger
	}
}

// hold keeps what is not dealt with where the next read of the loop does not reach it.
func (l *loop) hold(w *work, private *[]byte) {
	if w.r == w.w || &w.in[0] != &l.shared[0] {
		return
	}
	if need := headRoom + 2*(w.w-w.r); len(*private) < need {
		*private = make([]byte, max(need, headRoom+4<<10))
	}
	w.w = headRoom + copy((*private)[headRoom:], w.in[w.r:w.w])
	w.r, w.in = headRoom, *private
}

// take deals with what has come from the server.
func (f *inbound) take() {
	t := f.task
	for f.stage == linking && !t.begun {
		n, err := t.resp.Parse(t.work.in[t.work.r:t.work.w], f.asked())
		switch {
		case err != nil:
			f.failed(f.failure(err), err)
			return
		case n == 0:
			f.loop.hold(&t.work, &t.private)
			return
		case !t.resp.Interim():
			t.respHead = n
			if err := t.checkSwitch(); err != nil {
				f.failed(f.failure(err), err)
				return
			}
			f.respond()
			return
		}
		if t.interims++; t.interims > interimMost {
			f.failed(f.failure(errInterims), errInterims)
			return
		}
		f.passInterim()
		t.work.r += n
		if t.work.r == t.work.w {
			return
		}
	}
	if f.stage == linking {
		f.pass()
	}
}

// asked is what the response is read by.
func (f *inbound) asked() http1.Asked {
	asked := f.task.req.Asked(f.task.exchange.head.upgrade)
	asked.Ended = f.back.shoot != nil && f.back.shoot.atOnce
	return asked
}

// passInterim passes a response 1xx on, which clients of HTTP/1.0 do not understand.
func (f *inbound) passInterim() {
	t := f.task
	if t.req.Minor == 0 {
		return
	}
	t.out = t.appendInterim(f.loop.out)
	_, err := t.down.write(&f.end, t.out)
	f.loop.lay(&t.work)
	if err != nil {
		f.gone()
	}
}

// respond begins to pass the response on whose head has come.
func (f *inbound) respond() {
	t := f.task
	t.copied.reset(f.loop)
	if t.begun = true; f.back.shoot != nil {
		t.exchange.spoke = version2
	}
	f.bodyAnswered()
	t.beginResponse()
	if t.resp.Tunnel {
		f.openTunnel()
		return
	}
	t.rewrite.Framing = t.framing()
	t.rewrite.Close = !t.came() || t.work.closing(f.service.draining.Load())
	t.out = t.resp.Append(f.loop.out, t.work.in[t.work.r:t.work.w], &t.rewrite)
	t.passage.begin(&t.work)
	f.pass()
}

// all reports whether the request has gone to the server, to its end.
func (t *task) all() bool { return t.whole || t.ended }

// came reports whether all of the request has come from the client.
func (t *task) came() bool { return t.all() || t.store.begun && t.body.Done() }

// leaveRest leaves in the buffer what has come behind the request.
func (t *task) leaveRest() {
	switch {
	case t.whole || !t.came():
		t.gr += t.head + t.passed + t.tail
		poison.Fill(t.got[:t.gr])
		return
	case len(t.rest) > len(t.got):
		t.got = make([]byte, len(t.rest))
	}
	poison.Fill(t.got)
	t.gr, t.gw = 0, copy(t.got, t.rest)
}

// pass passes on what has come of the response.
func (f *inbound) pass() {
	t, l := f.task, f.loop
	for {
		if t.passage.headed {
			t.out = l.out
		}
		before, headed := t.work.r, t.passage.headed
		out, err := t.passage.step(&t.work)
		if err != nil {
			if !headed { // a client sees an answer that breaks off, and not none
				_, _ = t.down.write(&f.end, t.out) // an error is followed by the end in any case
			}
			f.loop.lay(&t.work)
			f.broken(err)
			return
		}
		t.exchange.bytes = t.passage.body.Size()
		done := t.passage.done()
		if done {
			f.linkDone(t.work.r == t.work.w && t.passage.how == 0)
		}
		_, err = t.down.write(&f.end, out)
		l.lay(&t.work)
		switch {
		case err != nil:
			f.gone()
			return
		case done:
			f.finish()
			return
		case t.work.r == t.work.w:
			return
		case t.work.r == before && len(out) == 0:
			l.hold(&t.work, &t.private)
			return
		}
	}
}

// pull moves what has come of a long body into a pipe; false: wait, or it is over.
func (f *inbound) pull() bool {
	t, b := f.task, f.back
	n, err := t.down.pull(&b.end, t.passage.body.Run())
	switch {
	case err == syscall.EAGAIN:
		return false
	case err == errNoPipe && t.down.pipe == nil:
		return f.pullWithout()
	case err != nil:
		if err == io.EOF {
			err = nil
		}
		f.serverEnded(err)
		return false
	}
	t.exchange.heard(f.loop.now)
	t.passage.body.Skip(n)
	t.exchange.bytes = t.passage.body.Size()
	if !t.passage.done() {
		return true
	}
	f.linkDone(true)
	f.finish()
	return false
}

// pullWithout reads what would have gone through a pipe.
func (f *inbound) pullWithout() bool {
	t := f.task
	f.loop.room(&t.work, &t.private)
	n, err := f.back.read(t.work.in[t.work.w:])
	if err == syscall.EAGAIN {
		return true
	}
	if err != nil || n == 0 {
		f.serverEnded(err)
		return false
	}
	t.work.w += n
	f.pass()
	return f.stage == linking
}

// serverEnded deals with the end of the server's connection amid the exchange; err is
// nil if it was in good order.
func (f *inbound) serverEnded(err error) {
	t := f.task
	why := err
	if why == nil {
		why = io.EOF
	}
	if !t.begun {
		failure := f.failure(why)
		failure.Kept = f.back.used && t.interims == 0 && t.work.w == headRoom
		f.failed(failure, why)
		return
	}
	if err == nil {
		t.out = f.loop.out
		if out, early := t.passage.end(&t.work); early == nil {
			f.linkDone(false)
			_, err := t.down.write(&f.end, out)
			f.loop.lay(&t.work)
			if err != nil {
				f.gone()
				return
			}
			f.finish()
			return
		}
		f.loop.lay(&t.work)
	}
	f.broken(why)
}

// linkDone ends the link when the response has come whole. good: and nothing beyond it.
func (f *inbound) linkDone(good bool) {
	t, b := f.task, f.back
	t.exchange.finished()
	if good && t.resp.KeepAlive && t.all() && t.up.empty() && (!t.req.BodyUnlooked() || b.shoot != nil) {
		f.back = nil
		f.loop.keep(b)
		return
	}
	if t.up.empty() {
		b.closeNotify()
	}
	f.detach()
}

// finish leaves in the buffer what belongs to the next request, and ends the exchange
// when all has gone to the client.
func (f *inbound) finish() {
	t := f.task
	t.closing = t.rewrite.Close || !t.came() || t.rewrite.Framing == 0 && t.req.Minor == 0
	t.leaveRest()
	t.uploading = false
	f.stage = flushing
	f.flush()
}

// broken ends the exchange amid the response.
func (f *inbound) broken(err error) {
	t := f.task
	if x := &t.exchange; !x.flight.Over() {
		x.failed(flight.Failure{Sent: true, Begun: true}, err)
	}
	if t.req.Minor == 0 { // a reset is the only way to tell that the end of the connection is not that of the body
		f.fd.ResetOnClose()
	}
	f.abort()
}

// lay takes the room for heads back.
func (l *loop) lay(w *work) {
	if cap(w.out) > 0 && cap(w.out) <= mostOut {
		l.out = w.out[:0]
	}
	w.out = nil
}
