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

// saying is what waits for the end of the turn, at one end.
type saying struct {
	end      *end // nil: it has been sent
	from, to int  // in loop.said
}

const (
	mostSayings = fd.Most // more do not wait, so that none waits long
	shortSaying = 2 << 10 // bytes; to copy more costs what it brings
)

// later has p wait for the end of the turn; false: it is to be sent now.
func (e *end) later(p []byte) bool {
	l := e.loop
	if !l.crowded || e.prompt || e.saying != 0 || e.remains != nil || len(p) > shortSaying {
		return false
	}
	if len(l.sayings) == mostSayings {
		l.sayAll()
	}
	from := len(l.said)
	l.said = append(l.said, p...)
	l.sayings = append(l.sayings, saying{e, from, len(l.said)})
	e.saying = int32(len(l.sayings))
	return true
}

// sayAll sends what waits.
func (l *loop) sayAll() {
	for i := range l.sayings {
		if s := &l.sayings[i]; s.end != nil {
			l.calls.Send(&s.end.fd, l.said[s.from:s.to])
		}
	}
	results := l.calls.Do()
	for i := range l.sayings {
		s := &l.sayings[i]
		if s.end == nil {
			continue
		}
		e, p, r := s.end, l.said[s.from:s.to], results[0]
		s.end, e.saying, results = nil, 0, results[1:]
		if e.accepted += int64(r.N); r.Maybe {
			e.accepted++
		}
		switch {
		case r.N == len(p):
		case r.Err == nil || r.Err == syscall.EAGAIN:
			e.say(p[r.N:])
		default:
			e.fails(r.Err)
		}
	}
	l.sayings, l.said = l.sayings[:0], l.said[:0]
}

// hasten sends what waits at this end.
func (e *end) hasten() {
	if e.saying == 0 {
		return
	}
	l := e.loop
	s := &l.sayings[e.saying-1]
	e.saying, s.end = 0, nil
	e.say(l.said[s.from:s.to])
}

// say sends p, and keeps what does not go.
func (e *end) say(p []byte) {
	n, err := e.push(p)
	switch {
	case err != nil:
		e.fails(err)
	case n < len(p):
		e.remains = &remains{octets: slices.Clone(p[n:])}
	}
}

// fails says that the socket takes nothing any more.
func (e *end) fails(err error) {
	e.remains = &remains{failed: err}
	e.readable, e.hup = true, true // whoever reads there sees why
	e.loop.soon(e)
}

// remains is what is left of something said that the socket did not take.
type remains struct {
	octets []byte // that it may take later
	shut   bool   // nothing is said behind them
	failed error  // it takes nothing any more
}

// mayHave reports whether the peer may have something of what was written since accepted was
// since. What waits for the end of the turn will go, even if the end is closed.
func (e *end) mayHave(since int64) bool { return e.accepted != since || e.saying != 0 }

// sayRest sends what the socket did not take, now that it takes more.
func (e *end) sayRest() {
	r := e.remains
	if r.failed != nil {
		return
	}
	e.remains = nil
	e.say(r.octets)
	switch {
	case !r.shut:
	case e.remains != nil:
		e.remains.shut = true
	default:
		_ = e.fd.CloseWrite() // if it fails, whoever reads there sees why
	}
}

// unsent is how many bytes wait for the socket to take more.
func (e *end) unsent() int64 {
	if e.remains == nil {
		return 0
	}
	return int64(len(e.remains.octets))
}

// sent reports whether nothing of what was said waits to go.
func (e *end) sent() bool {
	e.hasten()
	return e.remains == nil || e.remains.failed != nil
}

// shutdown tells the peer that nothing more will come.
func (e *end) shutdown() error {
	if !e.sent() {
		e.remains.shut = true
		return nil
	}
	return e.fd.CloseWrite()
}
