package edge

import (
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// In a turn with several events, what has come is read before anybody deals with any of it,
// for the reason for which what is said waits for the end of the turn: the system's code for
// receiving is long too. Whoever reads finds it there, as if it came from the socket. That is
// done where what came last was short; a long message is not worth another copy.

// prefetched is what was read of a connection before its owner asked for it.
type prefetched struct {
	bytes []byte // none: err
	err   error  // in the place of bytes
}

const (
	maxPrefetch    = fd.Most // connections at once, so that what was read of the first is still near the processor
	shortRead      = 2 << 10 // bytes; what is longer is not brief
	prefetchStride = shortRead + 2*cacheLine
	cacheLine      = 64 // rooms that begin at a multiple of a power of two drive each other out of the caches
)

// handleEvents has the owners of events do what can be done. Servers come first: what has ended is
// known before anybody asks for more.
func (l *loop) handleEvents(events []fd.Event) {
	for len(events) > 0 {
		some := events[:min(len(events), maxPrefetch)]
		events = events[len(some):]
		if l.batching {
			l.prefetch(some)
		}
		l.dispatchEvents(some, true)
		l.dispatchEvents(some, false)
	}
}

// prefetch reads from connections that what comes to is likely to be brief. One of which
// the peer's end is told is left to whoever has to tell what that means.
func (l *loop) prefetch(events []fd.Event) {
	l.prefetching, l.prefetches = l.prefetching[:0], l.prefetches[:0]
	for i := range events {
		ev := &events[i]
		e := l.connOf(ev)
		if e == nil || !e.lastReadShort || e.prefetched != nil || ev.Events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != fd.Readable {
			continue
		}
		l.batch.Receive(&e.fd, l.prefetchBuf[len(l.prefetching)*prefetchStride:][:shortRead])
		l.prefetching = append(l.prefetching, e)
	}
	for i, r := range l.batch.Do() {
		e := l.prefetching[i]
		if r.Err == syscall.EAGAIN || r.Err == nil && r.N == 0 { // which is told as often as it is asked for
			continue
		}
		e.lastReadShort = r.N < shortRead
		l.prefetches = append(l.prefetches, prefetched{l.prefetchBuf[i*prefetchStride:][:r.N], r.Err})
		e.prefetched = &l.prefetches[len(l.prefetches)-1]
	}
}

// takePrefetched takes what was read before, into p. It stands for a read that found no more,
// if the one before did not.
func (c *conn) takePrefetched(p []byte) (n int, err error) {
	a := c.prefetched
	if err = a.err; err == nil {
		n = copy(p, a.bytes)
		a.bytes = a.bytes[n:]
	}
	if len(a.bytes) == 0 {
		c.prefetched = nil
		c.readable = !c.lastReadShort || c.hup || err != nil
	}
	return n, err
}

// keepPrefetched keeps what nobody wanted in the turn in which it was read. Who speaks when
// nobody listens is not read early the next time.
func (c *conn) keepPrefetched() {
	c.prefetched = &prefetched{slices.Clone(c.prefetched.bytes), c.prefetched.err}
	c.lastReadShort = false
}
