package edge

import (
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// In a turn with several events, what the loop has to say is short and goes to many. It
// is sent at the end of the turn: the system's code for sending is long, and would
// otherwise drive the code that reads and decides out of the processor's caches for each
// event anew. To whoever said it, it has gone, as what stands in a socket's buffer has:
// what the socket does not take is the end's to send, and an error is seen by whoever
// writes or reads there next.

// pendingWrite is what waits for the end of the turn, at one end.
type pendingWrite struct {
	conn     *conn // nil: it has been sent
	from, to int   // in loop.said
}

const (
	maxPendingWrites = fd.Most // more do not wait, so that none waits long
	maxDeferredWrite = 2 << 10 // bytes; to copy more costs what it brings
)

// deferWrite has p wait for the end of the turn; false: it is to be sent now.
func (c *conn) deferWrite(p []byte) bool {
	l := c.loop
	if !l.batching || c.unbatched || c.pendingAt != 0 || c.unsentTail != nil || len(p) > maxDeferredWrite {
		return false
	}
	if len(l.pendingWrites) == maxPendingWrites {
		l.flushWrites()
	}
	from := len(l.writeBuf)
	l.writeBuf = append(l.writeBuf, p...)
	l.pendingWrites = append(l.pendingWrites, pendingWrite{c, from, len(l.writeBuf)})
	c.pendingAt = int32(len(l.pendingWrites))
	return true
}

// flushWrites sends what waits.
func (l *loop) flushWrites() {
	for i := range l.pendingWrites {
		if s := &l.pendingWrites[i]; s.conn != nil {
			l.batch.Send(&s.conn.fd, l.writeBuf[s.from:s.to])
		}
	}
	results := l.batch.Do()
	for i := range l.pendingWrites {
		s := &l.pendingWrites[i]
		if s.conn == nil {
			continue
		}
		e, p, r := s.conn, l.writeBuf[s.from:s.to], results[0]
		s.conn, e.pendingAt, results = nil, 0, results[1:]
		if e.sentBytes += int64(r.N); r.Maybe {
			e.sentBytes++
		}
		switch {
		case r.N == len(p):
		case r.Err == nil || r.Err == syscall.EAGAIN:
			e.sendOrKeep(p[r.N:])
		default:
			e.setFailed(r.Err)
		}
	}
	l.pendingWrites, l.writeBuf = l.pendingWrites[:0], l.writeBuf[:0]
}

// flushPending sends what waits at this end.
func (c *conn) flushPending() {
	if c.pendingAt == 0 {
		return
	}
	l := c.loop
	s := &l.pendingWrites[c.pendingAt-1]
	c.pendingAt, s.conn = 0, nil
	c.sendOrKeep(l.writeBuf[s.from:s.to])
}

// sendOrKeep sends p, and keeps what does not go.
func (c *conn) sendOrKeep(p []byte) {
	n, err := c.sendNow(p)
	switch {
	case err != nil:
		c.setFailed(err)
	case n < len(p):
		c.unsentTail = &unsentTail{bytes: slices.Clone(p[n:])}
	}
}

// setFailed says that the socket takes nothing any more.
func (c *conn) setFailed(err error) {
	c.unsentTail = &unsentTail{failed: err}
	c.readable, c.hup = true, true // whoever reads there sees why
	c.loop.deferConn(c)
}

// unsentTail is what is left of something said that the socket did not take.
type unsentTail struct {
	bytes      []byte // that it may take later
	closeAfter bool   // nothing is said behind them
	failed     error  // it takes nothing any more
}

// mayHaveSent reports whether the peer may have something of what was written since accepted was
// since. What waits for the end of the turn will go, even if the end is closed.
func (c *conn) mayHaveSent(since int64) bool { return c.sentBytes != since || c.pendingAt != 0 }

// retryUnsent sends what the socket did not take, now that it takes more.
func (c *conn) retryUnsent() {
	r := c.unsentTail
	if r.failed != nil {
		return
	}
	c.unsentTail = nil
	c.sendOrKeep(r.bytes)
	switch {
	case !r.closeAfter:
	case c.unsentTail != nil:
		c.unsentTail.closeAfter = true
	default:
		_ = c.fd.CloseWrite() // if it fails, whoever reads there sees why
	}
}

// unsentBytes is how many bytes wait for the socket to take more.
func (c *conn) unsentBytes() int64 {
	if c.unsentTail == nil {
		return 0
	}
	return int64(len(c.unsentTail.bytes))
}

// allSent reports whether nothing of what was said waits to go.
func (c *conn) allSent() bool {
	c.flushPending()
	return c.unsentTail == nil || c.unsentTail.failed != nil
}

// closeWrite tells the peer that nothing more will come.
func (c *conn) closeWrite() error {
	if !c.allSent() {
		c.unsentTail.closeAfter = true
		return nil
	}
	return c.fd.CloseWrite()
}
