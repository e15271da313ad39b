package edge

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/raw"
)

// In a turn with several events, what has come is read before anybody deals with any of it,
// for the reason for which what is said waits for the end of the turn: the system's code for
// receiving is long too. Whoever reads finds it there, as if it came from the socket. That is
// done where what came last was short; a long message is not worth another copy.

// early is what was read of a connection before its owner asked for it.
type early struct {
	octets []byte // none: err
	err    error  // in the place of octets
}

const (
	mostEarly  = 32      // connections at once, so that what was read of the first is still near the processor
	briefMost  = 2 << 10 // octets; what is longer is not brief
	earlyRooms = mostEarly * briefMost
)

// deal has the owners of events do what can be done. Servers come first: what has ended is
// known before anybody asks for more.
func (l *loop) deal(events []unix.EpollEvent) {
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
func (l *loop) readEarly(events []unix.EpollEvent) {
	l.earlies = l.earlies[:0]
	room := l.earlyRoom
	for i := range events {
		ev := &events[i]
		e := l.endOf(ev)
		if e == nil || !e.brief || e.early != nil || ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != unix.EPOLLIN {
			continue
		}
		n, err := raw.Receive(e.fd, room[:briefMost])
		if err == syscall.EAGAIN || err == nil && n == 0 { // which is told as often as it is asked for
			continue
		}
		e.brief = n < briefMost
		l.earlies = append(l.earlies, early{room[:n], err})
		e.early = &l.earlies[len(l.earlies)-1]
		room = room[(n+cacheLine-1)&^(cacheLine-1):]
	}
}

const cacheLine = 64

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
