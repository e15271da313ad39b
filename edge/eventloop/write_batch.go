package eventloop

import (
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Write batching. If one wait returned several events, short writes are copied to loop.writeBuf and sent
// together at the end of the iteration (io_uring, or one send each): the kernel's code for sending is long,
// and would otherwise evict the code that reads and decides from the caches for each event. A deferred write
// counts as accepted by the kernel: what the socket does not take is kept in unsentTail, and an error is
// reported by the connection's next read or write.

// pendingWrite is a write deferred to the end of the iteration.
type pendingWrite struct {
	conn     *Conn // nil: it has been sent
	from, to int   // in loop.writeBuf
}

const (
	maxPendingWrites = fd.Most // further writes flush them first, so that none waits long
	maxDeferredWrite = 2 << 10 // bytes; copying more costs more than it saves
)

// deferWrite defers p to the end of the iteration. It reports whether it did; if not, p has to be sent now.
func (c *Conn) deferWrite(p []byte) bool {
	l := c.Loop
	if !l.batching || c.Unbatched || c.pendingAt != 0 || c.unsentTail != nil || len(p) > maxDeferredWrite {
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

// flushWrites sends the deferred writes.
func (l *Loop) flushWrites() {
	for i := range l.pendingWrites {
		if s := &l.pendingWrites[i]; s.conn != nil {
			l.batch.Send(&s.conn.FD, l.writeBuf[s.from:s.to])
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
		if e.SentBytes += int64(r.N); r.Maybe {
			e.SentBytes++
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

// flushPending sends the connection's deferred write now.
func (c *Conn) flushPending() {
	if c.pendingAt == 0 {
		return
	}
	l := c.Loop
	s := &l.pendingWrites[c.pendingAt-1]
	c.pendingAt, s.conn = 0, nil
	c.sendOrKeep(l.writeBuf[s.from:s.to])
}

// sendOrKeep sends p and keeps what the socket does not take.
func (c *Conn) sendOrKeep(p []byte) {
	n, err := c.sendNow(p)
	switch {
	case err != nil:
		c.setFailed(err)
	case n < len(p):
		c.unsentTail = &unsentTail{bytes: slices.Clone(p[n:])}
		c.Loop.Defer(c) // its owner counted on p's having gone, and now waits for the peer
	}
}

// setFailed records that the socket takes nothing any more.
func (c *Conn) setFailed(err error) {
	c.unsentTail = &unsentTail{failed: err}
	c.Readable, c.PeerClosed = true, true // the next read returns the error
	c.Loop.Defer(c)
}

// unsentTail is the part of an accepted write that the socket has not taken.
type unsentTail struct {
	bytes      []byte // to be sent when the socket takes more
	closeAfter bool   // close the sending side behind them
	failed     error  // the socket takes nothing any more
}

// MayHaveSent reports whether the peer may have any byte written since SentBytes was since. A deferred write
// counts: it is sent even if the connection is closed.
func (c *Conn) MayHaveSent(since int64) bool { return c.SentBytes != since || c.pendingAt != 0 }

// retryUnsent sends the unsent tail when the socket takes more.
func (c *Conn) retryUnsent() {
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
		_ = c.FD.CloseWrite() // on failure the next read returns the error
	}
}

// UnsentBytes returns how many bytes wait for the socket to take more.
func (c *Conn) UnsentBytes() int64 {
	if c.unsentTail == nil {
		return 0
	}
	return int64(len(c.unsentTail.bytes))
}

// AllSent reports whether no accepted byte waits.
func (c *Conn) AllSent() bool {
	c.flushPending()
	return c.unsentTail == nil || c.unsentTail.failed != nil
}

// closeWrite closes the sending side behind all accepted bytes.
func (c *Conn) closeWrite() error {
	if !c.AllSent() {
		c.unsentTail.closeAfter = true
		return nil
	}
	return c.FD.CloseWrite()
}
