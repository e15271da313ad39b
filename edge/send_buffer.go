package edge

import (
	"io"
	"syscall"
)

// sendBuffer buffers what one connection sends. What the connection does not take at once is kept, in memory
// or in a pipe, never in both; nothing more may be added before flush has found it clear.
type sendBuffer struct {
	buf       []byte // buf[off:] is not sent
	off       int
	pipe      *pipe // nil: none
	piped     int64 // bytes in it
	sentAhead int   // bytes of the next write that have been sent already
}

const maxKeptBuf = 64 << 10 // larger buffers are not kept

// write sends p, keeps what does not go, and returns how much went; with TLS, of the encrypted bytes.
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

// sendRaw is write without encryption.
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

// pendingBytes returns how many bytes wait.
func (s *sendBuffer) pendingBytes() int64 { return int64(len(s.buf)-s.off) + s.piped }

// releaseIfEmpty frees memory and pipe if nothing waits.
func (s *sendBuffer) releaseIfEmpty(l *loop) {
	if s.empty() {
		s.buf, s.off = nil, 0
		s.releasePipe(l)
	}
}

// closeWrite closes the sending side.
func (s *sendBuffer) closeWrite(to *conn) error {
	switch {
	case to.via != nil: // END_STREAM closes it
		return nil
	case to.tls != nil:
		_, err := s.sendRaw(to, to.tls.closeNotify())
		return err
	}
	return to.closeWrite()
}

// compact makes space behind what is kept, for callers that add before all has gone.
func (s *sendBuffer) compact() {
	if s.off > len(s.buf)/2 {
		s.buf, s.off = s.buf[:copy(s.buf, s.buf[s.off:])], 0
	}
}

// empty reports whether nothing waits.
func (s *sendBuffer) empty() bool { return s.off == len(s.buf) && s.piped == 0 }

// spliceFrom moves up to limit bytes from a connection into the pipe. It returns EAGAIN if there is nothing,
// io.EOF at the end. The buffer must be clear.
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

// hasPipe reports whether bytes are in a pipe, or could be.
func (s *sendBuffer) hasPipe() bool { return s.pipe != nil }

// errNoPipe reports that the system has no pipe left.
var errNoPipe = syscall.EMFILE

// fillPipe moves up to most bytes from a connection into an empty pipe.
func fillPipe(p *pipe, from *conn, most int64) (int64, error) {
	if from.prefetched == nil {
		return p.Fill(&from.fd, most)
	}
	var buf [shortRead]byte
	n, err := from.takePrefetched(buf[:min(most, shortRead)])
	if err == nil {
		n, err = p.Write(buf[:n])
	}
	return int64(n), err
}

// releasePipe frees an empty pipe.
func (s *sendBuffer) releasePipe(l *loop) {
	if s.pipe != nil && s.piped == 0 {
		l.pipes.put(s.pipe, true)
		s.pipe = nil
	}
}

// discard drops what has not gone.
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
