package eventloop

import (
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Read batching. If one wait returned several events, connections are read before any event is handled, for
// the reason of write batching: the kernel's code for receiving is long too. The owner's next read returns
// these bytes as if they came from the socket. Only connections whose last read was short are prefetched; a
// long message is not worth the extra copy.

// prefetched is what was read of a connection before its owner asked for it.
type prefetched struct {
	bytes []byte // empty: see err
	err   error  // instead of bytes
}

const (
	maxPrefetch    = fd.Most // at a time, so that the first one's bytes are still cached
	shortRead      = 2 << 10 // bytes; shorter reads count as short
	prefetchStride = shortRead + 2*cacheLine
	cacheLine      = 64 // buffers at multiples of a power of two would evict each other from the caches
)

// handleEvents has the owners handle events. Servers come first: responses that have ended are known before
// new requests ask for a server.
func (l *Loop) handleEvents(events []fd.Event) {
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

// prefetch reads from connections that are likely to have a short message. One whose peer has closed is left
// to its owner.
func (l *Loop) prefetch(events []fd.Event) {
	l.prefetching, l.prefetches = l.prefetching[:0], l.prefetches[:0]
	for i := range events {
		ev := &events[i]
		e := l.connOf(ev)
		if e == nil || !e.lastReadShort || e.prefetched != nil || ev.Events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != fd.Readable {
			continue
		}
		l.batch.Receive(&e.FD, l.prefetchBuf[len(l.prefetching)*prefetchStride:][:shortRead])
		l.prefetching = append(l.prefetching, e)
	}
	for i, r := range l.batch.Do() {
		e := l.prefetching[i]
		if r.Err == syscall.EAGAIN || r.Err == nil && r.N == 0 { // it is reported again whenever it is read
			continue
		}
		e.lastReadShort = r.N < shortRead
		l.prefetches = append(l.prefetches, prefetched{l.prefetchBuf[i*prefetchStride:][:r.N], r.Err})
		e.prefetched = &l.prefetches[len(l.prefetches)-1]
	}
}

// takePrefetched returns prefetched bytes. It stands for a read that found no more, unless the prefetch was
// full.
func (c *Conn) takePrefetched(p []byte) (n int, err error) {
	a := c.prefetched
	if err = a.err; err == nil {
		n = copy(p, a.bytes)
		a.bytes = a.bytes[n:]
	}
	if len(a.bytes) == 0 {
		c.prefetched = nil
		c.Readable = !c.lastReadShort || c.PeerClosed || err != nil
	}
	return n, err
}

// keepPrefetched keeps bytes that the owner has not read in this iteration. The connection is not prefetched
// the next time.
func (c *Conn) keepPrefetched() {
	c.prefetched = &prefetched{slices.Clone(c.prefetched.bytes), c.prefetched.err}
	c.lastReadShort = false
}
