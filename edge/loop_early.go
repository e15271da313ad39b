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

// early is what was read of a connection before its owner asked for it.
type early struct {
	octets []byte // none: err
	err    error  // in the place of bytes
}

const (
	mostEarly   = fd.Most // connections at once, so that what was read of the first is still near the processor
	briefMost   = 2 << 10 // bytes; what is longer is not brief
	earlyStride = briefMost + 2*cacheLine
	cacheLine   = 64 // rooms that begin at a multiple of a power of two drive each other out of the caches
)

// deal has the owners of events do what can be done. Servers come first: what has ended is
// known before anybody asks for more.
func (l *loop) deal(events []fd.Event) {
	for len(events) > 0 {
		some := events[:min(len(events), mostEarly)]
		events = events[len(some):]
		if l.crowded {
			l.readEarly(some)
		}
		l.dispatch(some, true)
		l.dispatch(some, false)
	}
}

// readEarly reads from connections that what comes to is likely to be brief. One of which
// the peer's end is told is left to whoever has to tell what that means.
func (l *loop) readEarly(events []fd.Event) {
	l.readers, l.earlies = l.readers[:0], l.earlies[:0]
	for i := range events {
		ev := &events[i]
		e := l.endOf(ev)
		if e == nil || !e.brief || e.early != nil || ev.Events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != fd.Readable {
			continue
		}
		l.calls.Receive(&e.fd, l.earlyRoom[len(l.readers)*earlyStride:][:briefMost])
		l.readers = append(l.readers, e)
	}
	for i, r := range l.calls.Do() {
		e := l.readers[i]
		if r.Err == syscall.EAGAIN || r.Err == nil && r.N == 0 { // which is told as often as it is asked for
			continue
		}
		e.brief = r.N < briefMost
		l.earlies = append(l.earlies, early{l.earlyRoom[i*earlyStride:][:r.N], r.Err})
		e.early = &l.earlies[len(l.earlies)-1]
	}
}

// takeEarly takes what was read before, into p. It stands for a read that found no more,
// if the one before did not.
func (e *end) takeEarly(p []byte) (n int, err error) {
	a := e.early
	if err = a.err; err == nil {
		n = copy(p, a.octets)
		a.octets = a.octets[n:]
	}
	if len(a.octets) == 0 {
		e.early = nil
		e.readable = !e.brief || e.hup || err != nil
	}
	return n, err
}

// keepEarly keeps what nobody wanted in the turn in which it was read. Who speaks when
// nobody listens is not read early the next time.
func (e *end) keepEarly() {
	e.early = &early{slices.Clone(e.early.octets), e.early.err}
	e.brief = false
}
