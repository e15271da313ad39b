package edge

import (
	"io"
	"syscall"
)

// outflow is what goes to one end, as it goes over the wire. What that does not take at once is kept, in memory or
// in a pipe, never in both; nothing more may be put in before flush has found it clear.
type outflow struct {
	kept  []byte // kept[at:] is still to go
	at    int
	pipe  *pipe // nil: none
	piped int64 // bytes in it
	ahead int   // bytes of what is written next that have been sent before
}

const mostKept = 64 << 10 // a larger buffer does not outlive its use

// write sends p, keeps what does not go, and returns how much went; by TLS, how much of
// what has become of p.
func (s *outflow) write(to *end, p []byte) (int, error) {
	if s.ahead > 0 {
		n := min(s.ahead, len(p))
		s.ahead, p = s.ahead-n, p[n:]
	}
	if to.sealed != nil {
		var err error
		if p, err = to.sealed.seal(p); err != nil {
			return 0, err
		}
	}
	return s.send(to, p)
}

// send is write for what goes over the wire as it is.
func (s *outflow) send(to *end, p []byte) (int, error) {
	n := 0
	if to.writable && s.at == len(s.kept) {
		var err error
		if n, err = to.write(p); err != nil || n == len(p) {
			return n, err
		}
	}
	s.kept = append(s.kept, p[n:]...)
	return n, nil
}

// flush sends what is kept and reports whether all has gone.
func (s *outflow) flush(to *end) (clear bool, err error) {
	if r := to.remains; r != nil {
		return false, r.failed
	}
	if s.at < len(s.kept) {
		if !to.writable {
			return false, nil
		}
		n, err := to.write(s.kept[s.at:])
		if s.at += n; err != nil || s.at < len(s.kept) {
			return false, err
		}
		s.forget()
	}
	if s.piped > 0 {
		to.hasten()
	}
	for s.piped > 0 {
		if !to.writable {
			return false, nil
		}
		n, err := s.pipe.Drain(&to.fd, s.piped)
		switch {
		case err == syscall.EAGAIN:
			to.writable = false
			return false, nil
		case err != nil:
			return false, err
		}
		s.piped -= n
		to.accepted += n
	}
	return true, nil
}

// waiting is how many bytes wait to go.
func (s *outflow) waiting() int64 { return int64(len(s.kept)-s.at) + s.piped }

// idle gives back what is not needed while nothing waits to go.
func (s *outflow) idle(l *loop) {
	if s.empty() {
		s.kept, s.at = nil, 0
		s.release(l)
	}
}

// finish tells the peer that nothing more will come.
func (s *outflow) finish(to *end) error {
	switch {
	case to.branch != nil: // the end of what is said on it says so
		return nil
	case to.sealed != nil:
		_, err := s.send(to, to.sealed.farewell())
		return err
	}
	return to.shutdown()
}

// compact makes room behind what is kept, for those who put something in before all
// has gone.
func (s *outflow) compact() {
	if s.at > len(s.kept)/2 {
		s.kept, s.at = s.kept[:copy(s.kept, s.kept[s.at:])], 0
	}
}

// empty reports whether nothing waits to go.
func (s *outflow) empty() bool { return s.at == len(s.kept) && s.piped == 0 }

// pull moves up to limit bytes from an end into the pipe. It returns EAGAIN if there
// is nothing, io.EOF at the end; it must be clear.
func (s *outflow) pull(from *end, limit int64) (int64, error) {
	if s.pipe == nil {
		if s.pipe = from.loop.pipes.take(); s.pipe == nil {
			return 0, errNoPipe
		}
	}
	n, err := fill(s.pipe, from, min(limit, pipeSize))
	switch {
	case err == syscall.EAGAIN:
		from.readable = false
		return 0, err
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	s.piped += n
	return n, nil
}

// errNoPipe says that the system has no pipe to give.
var errNoPipe = syscall.EMFILE

// fill moves up to most bytes from an end into the pipe, which is empty.
func fill(p *pipe, from *end, most int64) (int64, error) {
	if from.early == nil {
		return p.Fill(&from.fd, most)
	}
	var room [briefMost]byte
	n, err := from.takeEarly(room[:min(most, briefMost)])
	if err == nil {
		n, err = p.Write(room[:n])
	}
	return int64(n), err
}

// release gives an empty pipe back.
func (s *outflow) release(l *loop) {
	if s.pipe != nil && s.piped == 0 {
		l.pipes.put(s.pipe, true)
		s.pipe = nil
	}
}

// reset forgets whatever has not gone.
func (s *outflow) reset(l *loop) {
	s.forget()
	s.ahead = 0
	if s.pipe != nil {
		l.pipes.put(s.pipe, s.piped == 0)
		s.pipe, s.piped = nil, 0
	}
}

func (s *outflow) forget() {
	if s.kept, s.at = s.kept[:0], 0; cap(s.kept) > mostKept {
		s.kept = nil
	}
}
