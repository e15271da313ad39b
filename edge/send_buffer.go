package edge

import (
	"io"
	"syscall"
)

// sendBuffer is what goes to one end, as it goes over the wire. What that does not take at once is kept, in memory or
// in a pipe, never in both; nothing more may be put in before flush has found it clear.
type sendBuffer struct {
	buf       []byte // kept[at:] is still to go
	off       int
	pipe      *pipe // nil: none
	piped     int64 // bytes in it
	sentAhead int   // bytes of what is written next that have been sent before
}

const maxKeptBuf = 64 << 10 // a larger buffer does not outlive its use

// write sends p, keeps what does not go, and returns how much went; by TLS, how much of
// what has become of p.
func (s *sendBuffer) write(to *conn, p []byte) (int, error) {
	if s.sentAhead > 0 {
		n := min(s.sentAhead, len(p))
		s.sentAhead, p = s.sentAhead-n, p[n:]
	}
	if to.tls != nil {
		var err error
		if p, err = to.tls.encrypt(p); err != nil {
			return 0, err
		}
	}
	return s.sendRaw(to, p)
}

// sendRaw is write for what goes over the wire as it is.
func (s *sendBuffer) sendRaw(to *conn, p []byte) (int, error) {
	n := 0
	if to.writable && s.off == len(s.buf) {
		var err error
		if n, err = to.write(p); err != nil || n == len(p) {
			return n, err
		}
	}
	s.buf = append(s.buf, p[n:]...)
	return n, nil
}

// flush sends what is kept and reports whether all has gone.
func (s *sendBuffer) flush(to *conn) (clear bool, err error) {
	if r := to.unsentTail; r != nil {
		return false, r.failed
	}
	if s.off < len(s.buf) {
		if !to.writable {
			return false, nil
		}
		n, err := to.write(s.buf[s.off:])
		if s.off += n; err != nil || s.off < len(s.buf) {
			return false, err
		}
		s.clearBuf()
	}
	if s.piped > 0 {
		to.flushPending()
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
		to.sentBytes += n
	}
	return true, nil
}

// pendingBytes is how many bytes wait to go.
func (s *sendBuffer) pendingBytes() int64 { return int64(len(s.buf)-s.off) + s.piped }

// releaseIfEmpty gives back what is not needed while nothing waits to go.
func (s *sendBuffer) releaseIfEmpty(l *loop) {
	if s.empty() {
		s.buf, s.off = nil, 0
		s.releasePipe(l)
	}
}

// closeWrite tells the peer that nothing more will come.
func (s *sendBuffer) closeWrite(to *conn) error {
	switch {
	case to.serverStream != nil: // the end of what is said on it says so
		return nil
	case to.tls != nil:
		_, err := s.sendRaw(to, to.tls.closeNotify())
		return err
	}
	return to.closeWrite()
}

// compact makes room behind what is kept, for those who put something in before all
// has gone.
func (s *sendBuffer) compact() {
	if s.off > len(s.buf)/2 {
		s.buf, s.off = s.buf[:copy(s.buf, s.buf[s.off:])], 0
	}
}

// empty reports whether nothing waits to go.
func (s *sendBuffer) empty() bool { return s.off == len(s.buf) && s.piped == 0 }

// spliceFrom moves up to limit bytes from an end into the pipe. It returns EAGAIN if there
// is nothing, io.EOF at the end; it must be clear.
func (s *sendBuffer) spliceFrom(from *conn, limit int64) (int64, error) {
	if s.pipe == nil {
		if s.pipe = from.loop.pipes.take(); s.pipe == nil {
			return 0, errNoPipe
		}
	}
	n, err := fillPipe(s.pipe, from, min(limit, pipeSize))
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

// fillPipe moves up to most bytes from an end into the pipe, which is empty.
func fillPipe(p *pipe, from *conn, most int64) (int64, error) {
	if from.prefetched == nil {
		return p.Fill(&from.fd, most)
	}
	var room [shortRead]byte
	n, err := from.takePrefetched(room[:min(most, shortRead)])
	if err == nil {
		n, err = p.Write(room[:n])
	}
	return int64(n), err
}

// releasePipe gives an empty pipe back.
func (s *sendBuffer) releasePipe(l *loop) {
	if s.pipe != nil && s.piped == 0 {
		l.pipes.put(s.pipe, true)
		s.pipe = nil
	}
}

// discard forgets whatever has not gone.
func (s *sendBuffer) discard(l *loop) {
	s.clearBuf()
	s.sentAhead = 0
	if s.pipe != nil {
		l.pipes.put(s.pipe, s.piped == 0)
		s.pipe, s.piped = nil, 0
	}
}

func (s *sendBuffer) clearBuf() {
	if s.buf, s.off = s.buf[:0], 0; cap(s.buf) > maxKeptBuf {
		s.buf = nil
	}
}
