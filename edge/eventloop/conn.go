package eventloop

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Conn is a non-blocking descriptor registered edge-triggered with the loop, or a stream of a Transport that behaves
// like one. Readable and Writable cache the last reported readiness; a read or write that returns EAGAIN clears them.
type Conn struct {
	Loop     *Loop
	Owner    Owner
	FD       fd.FD     // of a stream: closed
	TLS      *TLSConn  // nil: the connection is not encrypted
	via      Transport // what carries its bytes in place of the descriptor; nil: nothing
	IsStream bool      // it is a stream of via that is open
	IsServer bool      // the peer is a server

	// Readiness.
	Readable   bool
	Writable   bool
	PeerClosed bool // the peer has closed its side; there may be something left to read
	WasReset   bool // nothing can be written any more
	Deferred   bool // its owner is called again in this iteration

	// The loop's.
	slot          int32
	lastReadShort bool        // the last read returned less than shortRead bytes, so the next one may be prefetched
	prefetched    *prefetched // bytes read before the owner asked for them; nil: none

	// Writing.
	Unbatched  bool  // its writes are not deferred
	SentBytes  int64 // bytes that the socket has taken, which the peer may have
	pendingAt  int32 // its deferred write, as an index in Loop.pendingWrites plus one; zero: none
	unsentTail *unsentTail
}

// Owner is what a connection belongs to.
type Owner interface {
	// OnReady is called when the connection is readable or writable again, and after Defer.
	OnReady()
}

// Transport carries the bytes of a stream that is no descriptor of its own, as HTTP/2 does.
type Transport interface {
	// ReadStream is Conn.Read.
	ReadStream(p []byte) (n int, err error)
	// WriteStream takes as much of p as it can now, and returns how much that is.
	WriteStream(p []byte) (n int)
	// CloseStream ends the stream.
	CloseStream()
}

// BeginStream makes c a stream of a Transport. It may have been another one before, and be deferred still.
func (c *Conn) BeginStream(l *Loop, via Transport, owner Owner) {
	*c = Conn{Loop: l, Owner: owner, IsStream: true, via: via, Writable: true, Deferred: c.Deferred}
}

// IsOpen reports whether the descriptor or the stream is open.
func (c *Conn) IsOpen() bool { return c.IsStream || c.FD.IsOpen() }

// Close closes the descriptor, which also ends its registration: there is no copy.
func (c *Conn) Close() {
	if !c.IsOpen() {
		return
	}
	if c.via != nil {
		c.via.CloseStream()
		return
	}
	c.flushPending()
	c.prefetched = nil
	c.Loop.deregister(c)
	c.FD.Close() // all writes have gone
}

// HasPrefetched reports whether something has come that its owner has not asked for.
func (c *Conn) HasPrefetched() bool { return c.prefetched != nil }

// HasUnsent reports whether something is still to be sent, or cannot be.
func (c *Conn) HasUnsent() bool { return c.pendingAt != 0 || c.unsentTail != nil }

// Detach ends the registration and returns the descriptor, which stays open. Deferred writes go first.
func (c *Conn) Detach() fd.FD {
	c.flushPending()
	c.prefetched = nil // the caller has taken it

	_ = c.Loop.poller.Remove(&c.FD) // closing a copy would not remove it
	c.Loop.deregister(c)
	return c.FD.Move()
}

// onEvent updates the readiness and calls the owner.
func (c *Conn) onEvent(events uint32) {
	if events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != 0 {
		c.Readable = true
	}
	if events&(fd.Writable|fd.HungUp|fd.Failed) != 0 {
		c.Writable = true
	}
	c.PeerClosed = c.PeerClosed || events&(fd.PeerClosed|fd.HungUp|fd.Failed) != 0
	c.WasReset = c.WasReset || events&(fd.HungUp|fd.Failed) != 0
	if c.unsentTail != nil && c.Writable {
		c.retryUnsent()
	}
	c.Owner.OnReady()
	if c.prefetched != nil {
		c.keepPrefetched()
	}
}

// Read reads into p. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case c.TLS != nil:
		return c.TLS.read(p)
	case c.via != nil:
		return c.via.ReadStream(p)
	case c.prefetched != nil:
		return c.takePrefetched(p)
	}
	n, err := c.FD.Receive(p)
	if n > 0 {
		c.lastReadShort = n < shortRead
	}
	// A short read has emptied the socket: later bytes cause another event. Only the peer's end may have been
	// reported already.
	if err == syscall.EAGAIN || err == nil && n < len(p) && !c.PeerClosed {
		c.Readable = false
	}
	return n, err
}

// write writes p, now or at the end of the iteration, and returns how much was accepted.
func (c *Conn) write(p []byte) (n int, err error) {
	switch {
	case c.via != nil:
		n = c.via.WriteStream(p)
		c.Writable = n == len(p)
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
func (c *Conn) sendNow(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := c.FD.Send(p[n:])
		if err == syscall.EAGAIN {
			c.Writable = false
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += m
		c.SentBytes += int64(m)
	}
	return n, nil
}

// CanSplice reports whether the descriptor carries the bytes as they are, so that the kernel can move them.
func (c *Conn) CanSplice() bool {
	return fd.CanSplice && c.TLS == nil && c.via == nil
}

// NothingToRead reports whether nothing has come that was not read, nor the end.
func (c *Conn) NothingToRead() bool {
	if c.prefetched != nil {
		return false
	}
	return c.FD.NothingToRead()
}
