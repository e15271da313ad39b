package edge

import (
	"io"
	"syscall"
)

// upload moves what has come of the rest of the request's body to the server; false:
// the exchange has ended.
func (f *inbound) upload() bool {
	t, b, l := f.task, f.back, f.loop
	for left := share; t.uploading; left-- {
		clear, err := t.up.flush(&b.end)
		switch {
		case err != nil:
			f.takesNoMore()
			return true
		case !clear:
			return true
		case t.body.Done():
			t.uploading, t.ended, t.since = false, true, l.now
			t.up.release(l)
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
		if left == 0 {
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
	if run := t.body.Run(); run >= spliceMin && f.bare() {
		n, err := t.up.pull(&f.end, run)
		switch {
		case err == syscall.EAGAIN:
			return nil
		case err == nil:
			t.took += n
			t.since, t.part = l.now, true
			t.body.Skip(n)
			return nil
		case err != errNoPipe || t.up.pipe != nil:
			return err
		}
	}
	n, err := f.read(l.shared)
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	t.took += int64(n)
	t.since = l.now
	if t.body.AtTrailers() {
		t.rest = append(t.rest, l.shared[:n]...)
		return nil
	}
	good, err := t.body.Pass(l.shared[:n])
	if err != nil {
		return err
	}
	t.rest = append(t.rest[:0], l.shared[good:n]...)
	t.part = t.part || good > 0
	if _, err := t.up.write(&b.end, l.shared[:good]); err != nil {
		f.takesNoMore()
	}
	return nil
}

// uploadTrailers passes the trailers on whose first octet has come; true: more of them
// must come first.
func (f *inbound) uploadTrailers() (waits bool, err error) {
	t := f.task
	t.trailing.Limits = f.service.listener.limits
	n, err := t.body.ReadTrailers(&t.trailing, t.rest)
	if n == 0 || err != nil {
		return true, err
	}
	t.out = t.trailing.Append(f.loop.out, t.rest, noTrailers)
	t.rest = t.rest[:copy(t.rest, t.rest[n:])]
	_, err = t.up.write(&f.back.end, t.out)
	f.loop.lay(&t.work)
	if err != nil {
		f.takesNoMore()
	}
	return false, nil
}
