package edge

import "github.com/evenkeel-lb/evenkeel/flight"

// bodyCopy is what a client has sent of a request's body behind the buffer of its head, copied so
// that the request can be sent again. It holds the bytes as they were read, chunk sizes included.
// The loop goroutine owns it. The zero value is empty and ready.
type bodyCopy struct {
	bytes []byte
	lost  bool // more came than is copied; bytes is empty
}

const (
	// mostCopied bounds a copy. Most servers of HTTP/2 let 64 KiB of a stream's body come before they
	// say anything, and a server that refuses a stream mostly says so first of all.
	mostCopied = 96 << 10
	// copyRooms is how many rooms of mostCopied a loop keeps for later copies.
	copyRooms = 4
)

// add copies what has come next.
func (c *bodyCopy) add(l *loop, p []byte) {
	if c.lost {
		return
	}
	need := len(c.bytes) + len(p)
	if need > mostCopied {
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

// lose gives the copy up: the request cannot be sent again.
func (c *bodyCopy) lose(l *loop) {
	c.reset(l)
	c.lost = true
}

// reset empties the copy and gives a large room back.
func (c *bodyCopy) reset(l *loop) {
	if cap(c.bytes) > maxKeptInput {
		if len(l.freeCopyBufs) < copyRooms && cap(c.bytes) == mostCopied {
			l.freeCopyBufs = append(l.freeCopyBufs, c.bytes[:0])
		}
		c.bytes = nil
	}
	c.bytes, c.lost = c.bytes[:0], false
}

// takeCopyBuf returns an empty room of mostCopied bytes.
func (l *loop) takeCopyBuf() []byte {
	if n := len(l.freeCopyBufs); n > 0 {
		room := l.freeCopyBufs[n-1]
		l.freeCopyBufs = l.freeCopyBufs[:n-1]
		return room
	}
	return make([]byte, 0, mostCopied)
}

// mayResend reports whether the request may have to be sent again once its body has begun to go: a
// server of HTTP/2 says when it has not taken a request, and any server may get an idempotent one twice.
func (f *clientConn) mayResend() bool {
	return f.server.clientStream != nil || flight.Idempotent(f.req.exchange.head.method)
}

// cannotResend reports whether a part of the request's body is gone and cannot be sent again.
func (t *request) cannotResend() bool {
	return t.bodyRead > int64(len(t.bodyCopy.bytes)) || t.bodyStore.freed
}

// rewind puts what was copied of the body behind the head again, as if it had come before the
// request was first sent.
func (f *clientConn) rewind() error {
	t := f.req
	t.bodyStore.rewind()
	if len(t.bodyCopy.bytes) == 0 {
		return nil
	}
	t.appendInput(t.bodyCopy.bytes, true)
	t.bodyCopy.reset(f.loop)
	t.bodyRead, t.leftover = 0, t.leftover[:0]
	return t.frame(t.input[t.inputStart:t.inputEnd], f.service.listener)
}
