package edge

import (
	"io"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// upload moves what has come of the rest of the request's body to the server; false:
// the exchange has ended.
func (f *inbound) upload() bool {
	t, b, l := f.task, f.back, f.loop
	for turn := l.turn(); t.uploading && !b.gaveUp(); turn.Spend(limits.TurnCall) {
		clear, err := t.up.flush(&b.end)
		switch {
		case err != nil:
			f.takesNoMore()
			return true
		case !clear:
			return true
		case t.store.unsent():
			if turn.Over(clock.Now) {
				l.soon(&f.end)
				return true
			}
			f.uploadStored()
			continue
		case t.body.Done():
			t.uploading, t.ended, t.since = false, true, l.now
			t.up.release(l)
			f.releaseBody()
			return true
		case t.body.AtTrailers() && len(t.rest) > 0:
			waits, err := f.uploadTrailers()
			if err != nil {
				f.badBody(err)
				return false
			}
			if !waits {
				continue
			}
		}
		if !f.readable {
			t.up.release(l)
			return true
		}
		if turn.Over(clock.Now) {
			l.soon(&f.end)
			return true
		}
		if err := f.uploadMore(); err != nil {
			f.badBody(err)
			return false
		}
	}
	return true
}

// uploadStored sends the next part of what was read of the body before.
func (f *inbound) uploadStored() {
	t, b := f.task, f.back
	t.since = f.loop.now
	if _, err := t.up.write(&b.end, t.store.next(b.uploadRoom(largeRoom))); err != nil {
		f.takesNoMore()
	}
}

// takesNoMore: the server may have answered early; whoever reads from it will see.
func (f *inbound) takesNoMore() {
	t := f.task
	t.up.reset(f.loop)
	t.uploading = false
	f.back.readable = true
}

// uploadMore takes what the client has sent. Its error is the client's fault.
func (f *inbound) uploadMore() error {
	t, b, l := f.task, f.back, f.loop
	if run := t.body.Run(); run >= spliceMin && f.bare() && b.bare() {
		n, err := t.up.pull(&f.end, run)
		switch {
		case err == syscall.EAGAIN:
			return nil
		case err == nil:
			t.took += n
			t.pace.Took(n)
			t.copied.lose(l)
			t.since = l.now
			t.body.Skip(n)
			return nil
		case err != errNoPipe || t.up.pipe != nil:
			return err
		}
	}
	n, err := f.read(l.shared[:b.uploadRoom(len(l.shared))])
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	t.pace.Took(int64(n))
	t.since = l.now
	again := !t.begun && f.mayResend()
	stored := again && t.store.holds()
	if !stored || t.body.AtTrailers() {
		t.took += int64(n)
	}
	if again && !stored {
		t.copied.add(l, l.shared[:n])
	}
	if t.body.AtTrailers() {
		t.rest = append(t.rest, l.shared[:n]...)
		return nil
	}
	good, err := t.body.Pass(l.shared[:n])
	if err != nil {
		return err
	}
	t.rest = append(t.rest[:0], l.shared[good:n]...)
	if stored && !t.store.keep(l, l.shared[:good], t.exchange.route.buffer) {
		t.store.release(l)
	}
	if _, err := t.up.write(&b.end, l.shared[:good]); err != nil {
		f.takesNoMore()
	}
	return nil
}

// takeTrailers appends to dst the request's trailers, whose first byte has come; true: more of them
// must come first.
func (f *inbound) takeTrailers(dst []byte) (out []byte, waits bool, err error) {
	t := f.task
	t.trailing.Limits = f.service.listener.limits
	n, err := t.body.ReadTrailers(&t.trailing, t.rest)
	if n == 0 || err != nil {
		return dst, true, err
	}
	out = t.trailing.Append(dst, t.rest, t.exchange.route.drops.trailers)
	t.rest = t.rest[:copy(t.rest, t.rest[n:])]
	return out, false, nil
}

// uploadTrailers passes the trailers on, as takeTrailers takes them.
func (f *inbound) uploadTrailers() (waits bool, err error) {
	t := f.task
	out, waits, err := f.takeTrailers(f.loop.out)
	if waits {
		return true, err
	}
	t.out = out
	if t.store.holds() {
		t.took++ // they are not kept
	}
	_, err = t.up.write(&f.back.end, t.out)
	f.loop.lay(&t.work)
	if err != nil {
		f.takesNoMore()
	}
	return false, nil
}
