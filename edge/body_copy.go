package edge

import "github.com/evenkeel-lb/evenkeel/flight"

// bodyCopy is a copy of what the client has sent of a request body behind the buffer of its head, kept so that
// the request can be sent again. It holds the bytes as they were read, chunk sizes included. The loop
// goroutine owns it. The zero value is empty and ready.
type bodyCopy struct {
	bytes []byte
	lost  bool // more has come than is copied; bytes is empty
}

const (
	// maxCopied bounds a copy. Most HTTP/2 servers accept 64 KiB of a stream's body before they respond, and
	// a server that refuses a stream mostly does so first.
	maxCopied = 96 << 10
	// maxFreeCopyBufs is how many buffers of mostCopied bytes a loop keeps.
	maxFreeCopyBufs = 4
)

// add copies the next bytes.
func (c *bodyCopy) add(l *worker, p []byte) {
	if c.lost {
		return
	}
	need := len(c.bytes) + len(p)
	if need > maxCopied {
		c.lose(l)
		return
	}
	if need > cap(c.bytes) && need > maxKeptInput {
		larger := append(l.takeCopyBuf(), c.bytes...)
		c.reset(l)
		c.bytes = larger
	}
	c.bytes = append(c.bytes, p...)
}

// lose gives up the copy: the request cannot be sent again.
func (c *bodyCopy) lose(l *worker) {
	c.reset(l)
	c.lost = true
}

// reset empties the copy and frees a large buffer.
func (c *bodyCopy) reset(l *worker) {
	if cap(c.bytes) > maxKeptInput {
		if len(l.freeCopyBufs) < maxFreeCopyBufs && cap(c.bytes) == maxCopied {
			l.freeCopyBufs = append(l.freeCopyBufs, c.bytes[:0])
		}
		c.bytes = nil
	}
	c.bytes, c.lost = c.bytes[:0], false
}

// takeCopyBuf returns an empty buffer of mostCopied bytes.
func (l *worker) takeCopyBuf() []byte {
	if n := len(l.freeCopyBufs); n > 0 {
		buf := l.freeCopyBufs[n-1]
		l.freeCopyBufs = l.freeCopyBufs[:n-1]
		return buf
	}
	return make([]byte, 0, maxCopied)
}

// mayResend reports whether the request may have to be sent again after its body has begun to go: an HTTP/2
// server says when it has not processed a request, and an idempotent one may be repeated.
func (f *clientConn) mayResend() bool {
	return f.server.Stream != nil || flight.Idempotent(f.req.Exchange.Head.Method)
}

// cannotResend reports whether part of the request body is gone.
func (t *request) cannotResend() bool {
	return t.bodyRead > int64(len(t.bodyCopy.bytes)) || t.bodyStore.freed
}

// rewind puts the copied part of the body behind the head again, as if it had come before the request was
// first sent.
func (f *clientConn) rewind() error {
	t := f.req
	t.bodyStore.rewind()
	if len(t.bodyCopy.bytes) == 0 {
		return nil
	}
	t.appendInput(t.bodyCopy.bytes, true)
	t.bodyCopy.reset(f.worker)
	t.bodyRead, t.leftover = 0, t.leftover[:0]
	return t.Frame(t.input[t.inputStart:t.inputEnd], f.service.listener)
}
