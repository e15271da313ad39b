package proxy

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// uploadBody relays the rest of the request body to the server. It returns false if the exchange has ended.
func (f *clientConn) uploadBody() bool {
	t, b, l := f.req, f.server, f.worker
	for turn := l.NewTurn(); t.uploading && !b.EndedEarly(); turn.Spend(limits.TurnCall) {
		clear, err := t.up.Flush(&b.Conn)
		switch {
		case err != nil:
			f.stopUpload()
			return true
		case !clear:
			return true
		case t.bodyStore.Unsent():
			if turn.Over(clock.Now) {
				l.Defer(&f.Conn)
				return true
			}
			f.uploadStored()
			continue
		case t.Body.Done():
			t.uploading, t.bodySent, t.waitingSince = false, true, l.Now
			t.up.ReleasePipe(&l.Loop)
			f.releaseBody()
			return true
		case t.Body.AtTrailers() && len(t.leftover) > 0:
			waits, err := f.uploadTrailers()
			if err != nil {
				f.badBody(err)
				return false
			}
			if !waits {
				continue
			}
		}
		if !f.Readable {
			t.up.ReleasePipe(&l.Loop)
			return true
		}
		if turn.Over(clock.Now) {
			l.Defer(&f.Conn)
			return true
		}
		if err := f.uploadMore(); err != nil {
			f.badBody(err)
			return false
		}
	}
	return true
}

// uploadStored sends the next part of the stored body.
func (f *clientConn) uploadStored() {
	t, b := f.req, f.server
	t.waitingSince = f.worker.Now
	if _, err := t.up.Write(&b.Conn, t.bodyStore.Next(b.UploadLimit(bodies.LargeBuf))); err != nil {
		f.stopUpload()
	}
}

// stopUpload ends the upload: the server may have responded early, which the next read finds.
func (f *clientConn) stopUpload() {
	t := f.req
	t.up.Discard(f.Loop)
	t.uploading = false
	f.server.Readable = true
}

// uploadMore relays what the client has sent. Its error is the client's fault.
func (f *clientConn) uploadMore() error {
	t, b, l := f.req, f.server, f.worker
	if run := t.Body.Run(); run >= exchange.SpliceMin && f.CanSplice() && b.CanSplice() {
		n, err := t.up.SpliceFrom(&f.Conn, run)
		switch {
		case err == syscall.EAGAIN:
			return nil
		case err == nil:
			t.bodyRead += n
			t.pace.Took(n)
			t.bodyCopy.Lose(&l.bodies)
			t.waitingSince = l.Now
			t.Body.Skip(n)
			return nil
		case err != eventloop.ErrNoPipe || t.up.HasPipe():
			return err
		}
	}
	n, err := f.readBodyPart(l.ReadBuf[:b.UploadLimit(len(l.ReadBuf))])
	if n == 0 || err != nil {
		return err
	}
	t.pace.Took(int64(n))
	t.waitingSince = l.Now
	again := !t.responseStarted && f.mayResend()
	stored := again && t.bodyStore.Holds()
	if !stored || t.Body.AtTrailers() {
		t.bodyRead += int64(n)
	}
	if again && !stored && f.away == nil {
		t.bodyCopy.Add(&l.bodies, l.ReadBuf[:n])
	}
	if t.Body.AtTrailers() {
		t.leftover = append(t.leftover, l.ReadBuf[:n]...)
		return nil
	}
	good, err := t.Body.Pass(l.ReadBuf[:n])
	if err != nil {
		return err
	}
	t.leftover = append(t.leftover[:0], l.ReadBuf[good:n]...)
	if stored && !t.bodyStore.Keep(&l.bodies, l.ReadBuf[:good], t.Exchange.Route.BufferRequest) {
		t.bodyStore.Release(&l.bodies)
	}
	if _, err := t.up.Write(&b.Conn, l.ReadBuf[:good]); err != nil {
		f.stopUpload()
	}
	return nil
}

// takeTrailers appends the request's trailers to dst. waits: they are not complete.
func (f *clientConn) takeTrailers(dst []byte) (out []byte, waits bool, err error) {
	t := f.req
	t.trailing.Limits = f.service.listener.HeadLimits
	n, err := t.Body.ReadTrailers(&t.trailing, t.leftover)
	if n == 0 || err != nil {
		return dst, true, err
	}
	out = t.trailing.Append(dst, t.leftover, t.Exchange.Route.Drops.Trailers)
	t.leftover = t.leftover[:copy(t.leftover, t.leftover[n:])]
	return out, false, nil
}

// uploadTrailers relays the trailers.
func (f *clientConn) uploadTrailers() (waits bool, err error) {
	t := f.req
	out, waits, err := f.takeTrailers(f.worker.headBuf)
	if waits {
		return true, err
	}
	t.Out = out
	if t.bodyStore.Holds() {
		t.bodyRead++ // they are not stored
	}
	_, err = t.up.Write(&f.server.Conn, t.Out)
	f.worker.putHeadBuf(&t.ForwardState)
	if err != nil {
		f.stopUpload()
	}
	return false, nil
}

// mayResend reports whether the request may have to be sent again after its body has begun to go: an HTTP/2
// server says when it has not processed a request, and an idempotent one may be repeated.
func (f *clientConn) mayResend() bool {
	return f.server.Stream != nil || flight.Idempotent(f.req.Exchange.Head.Method)
}

// cannotResend reports whether part of the request body is gone.
func (t *request) cannotResend() bool {
	return t.bodyRead > int64(len(t.bodyCopy.Bytes)) || t.bodyStore.Freed
}

// rewind puts the copied part of the body behind the head again, as if it had come before the request was
// first sent.
func (f *clientConn) rewind() error {
	t := f.req
	if f.away != nil {
		return f.away.rewind()
	}
	t.bodyStore.Rewind()
	if len(t.bodyCopy.Bytes) == 0 {
		return nil
	}
	t.appendInput(t.bodyCopy.Bytes, true)
	t.bodyCopy.Reset(&f.worker.bodies)
	t.bodyRead, t.leftover = 0, t.leftover[:0]
	return t.Frame(t.input[t.inputStart:t.inputEnd], f.service.listener)
}
