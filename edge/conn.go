package edge

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// conn is a non-blocking descriptor registered edge-triggered with the loop, or a stream of a transport that behaves
// like one. readable and writable cache the last reported readiness; a read or write that returns EAGAIN
// clears them.
type conn struct {
	loop          *loop
	owner         connOwner
	fd            fd.FD // of a stream: closed
	isStream      bool  // it is a stream of via that is open
	slot          int32
	readable      bool
	writable      bool
	hup           bool        // the peer has closed its side; there may be something left to read
	wasReset      bool        // nothing can be written any more
	deferred      bool        // is in loop.deferred
	isServer      bool        // the peer is a server
	lastReadShort bool        // the last read returned less than shortRead bytes, so the next one may be prefetched
	unbatched     bool        // its writes are not deferred
	sentBytes     int64       // bytes that the socket has taken, which the peer may have
	pendingAt     int32       // its deferred write, as an index in loop.pendingWrites plus one; zero: none
	prefetched    *prefetched // bytes read before the owner asked for them; nil: none
	unsentTail    *unsentTail
	tls           *tlsConn  // nil: the connection is not encrypted
	via           transport // what carries its bytes in place of the descriptor; nil: nothing
}

// connOwner is what a connection belongs to.
type connOwner interface {
	// onReady is called when the connection is readable or writable again, and after deferConn.
	onReady()
}

// transport carries the bytes of a stream that is no descriptor of its own, as HTTP/2 does.
type transport interface {
	// readStream is conn.read.
	readStream(p []byte) (n int, err error)
	// writeStream takes as much of p as it can now, and returns how much that is.
	writeStream(p []byte) (n int)
	// closeStream ends the stream.
	closeStream()
}

// beginStream makes c a stream of a transport. It may have been another one before, which is still deferred.
func (c *conn) beginStream(l *loop, via transport, owner connOwner) {
	*c = conn{loop: l, owner: owner, isStream: true, via: via, writable: true, deferred: c.deferred}
}

// isOpen reports whether the descriptor or the stream is open.
func (c *conn) isOpen() bool { return c.isStream || c.fd.IsOpen() }

// close closes the descriptor, which also ends its registration: there is no copy.
func (c *conn) close() {
	if !c.isOpen() {
		return
	}
	if c.via != nil {
		c.via.closeStream()
		return
	}
	c.flushPending()
	c.prefetched = nil
	c.loop.deregister(c)
	c.fd.Close() // all writes have gone
}

// hasPrefetched reports whether something has come that its owner has not asked for.
func (c *conn) hasPrefetched() bool { return c.prefetched != nil }

// hasUnsent reports whether something is still to be sent, or cannot be.
func (c *conn) hasUnsent() bool { return c.pendingAt != 0 || c.unsentTail != nil }

// detach ends the registration and returns the descriptor, which stays open. Deferred writes go first.
func (c *conn) detach() fd.FD {
	c.flushPending()
	c.prefetched = nil // the caller has taken it

	_ = c.loop.poller.Remove(&c.fd) // closing a copy would not remove it
	c.loop.deregister(c)
	return c.fd.Move()
}

// onEvent updates the readiness and calls the owner.
func (c *conn) onEvent(events uint32) {
	if events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != 0 {
		c.readable = true
	}
	if events&(fd.Writable|fd.HungUp|fd.Failed) != 0 {
		c.writable = true
	}
	c.hup = c.hup || events&(fd.PeerClosed|fd.HungUp|fd.Failed) != 0
	c.wasReset = c.wasReset || events&(fd.HungUp|fd.Failed) != 0
	if c.unsentTail != nil && c.writable {
		c.retryUnsent()
	}
	c.owner.onReady()
	if c.prefetched != nil {
		c.keepPrefetched()
	}
}

// read reads into p. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (c *conn) read(p []byte) (int, error) {
	switch {
	case c.tls != nil:
		return c.tls.read(p)
	case c.via != nil:
		return c.via.readStream(p)
	case c.prefetched != nil:
		return c.takePrefetched(p)
	}
	n, err := c.fd.Receive(p)
	if n > 0 {
		c.lastReadShort = n < shortRead
	}
	// A short read has emptied the socket: later bytes cause another event. Only the peer's end may have been
	// reported already.
	if err == syscall.EAGAIN || err == nil && n < len(p) && !c.hup {
		c.readable = false
	}
	return n, err
}

// write writes p, now or at the end of the iteration, and returns how much was accepted.
func (c *conn) write(p []byte) (n int, err error) {
	switch {
	case c.via != nil:
		n = c.via.writeStream(p)
		c.writable = n == len(p)
		return n, nil
	case c.deferWrite(p):
		return len(p), nil
	}
	if c.flushPending(); c.unsentTail != nil {
		return 0, c.unsentTail.failed
	}
	return c.sendNow(p)
}

// sendNow writes what the socket takes.
func (c *conn) sendNow(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := c.fd.Send(p[n:])
		if err == syscall.EAGAIN {
			c.writable = false
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += m
		c.sentBytes += int64(m)
	}
	return n, nil
}

// canSplice reports whether the descriptor carries the bytes as they are, so that the kernel can move them.
func (c *conn) canSplice() bool {
	return fd.CanSplice && c.tls == nil && c.via == nil
}

// nothingToRead reports whether nothing has come that was not read, nor the end.
func (c *conn) nothingToRead() bool {
	if c.prefetched != nil {
		return false
	}
	return c.fd.NothingToRead()
}
