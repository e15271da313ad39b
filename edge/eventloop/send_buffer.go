package eventloop

import (
	"io"
	"syscall"
)

// SendBuffer buffers what one connection sends. What the connection does not take at once is kept, in memory
// or in a pipe, never in both; nothing more may be added before flush has found it clear.
type SendBuffer struct {
	buf       []byte // buf[off:] is not sent
	off       int
	pipe      *pipe // nil: none
	piped     int64 // bytes in it
	SentAhead int   // bytes of the next write that have been sent already
}

const maxKeptBuf = 64 << 10 // larger buffers are not kept

// Write sends p, keeps what does not go, and returns how much went; with TLS, of the encrypted bytes.
func (s *SendBuffer) Write(to *Conn, p []byte) (int, error) {
	if s.SentAhead > 0 {
		n := min(s.SentAhead, len(p))
		s.SentAhead, p = s.SentAhead-n, p[n:]
	}
	if to.TLS != nil {
		var err error
		if p, err = to.TLS.encrypt(p); err != nil {
			return 0, err
		}
	}
	return s.sendRaw(to, p)
}

// sendRaw is write without encryption.
func (s *SendBuffer) sendRaw(to *Conn, p []byte) (int, error) {
	n := 0
	if to.Writable && s.off == len(s.buf) {
		var err error
		if n, err = to.write(p); err != nil || n == len(p) {
			return n, err
		}
	}
	s.buf = append(s.buf, p[n:]...)
	return n, nil
}

// Flush sends what is kept and reports whether all has gone.
func (s *SendBuffer) Flush(to *Conn) (clear bool, err error) {
	if r := to.unsentTail; r != nil {
		return false, r.failed
	}
	if s.off < len(s.buf) {
		if !to.Writable {
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
		if !to.Writable {
			return false, nil
		}
		n, err := s.pipe.Drain(&to.FD, s.piped)
		switch {
		case err == syscall.EAGAIN:
			to.Writable = false
			return false, nil
		case err != nil:
			return false, err
		}
		s.piped -= n
		to.SentBytes += n
	}
	return true, nil
}

// PendingBytes returns how many bytes wait.
func (s *SendBuffer) PendingBytes() int64 { return int64(len(s.buf)-s.off) + s.piped }

// releaseIfEmpty frees memory and pipe if nothing waits.
func (s *SendBuffer) releaseIfEmpty(l *Loop) {
	if s.off == len(s.buf) && s.piped == 0 {
		s.buf, s.off = nil, 0
		s.ReleasePipe(l)
	}
}

// CloseWrite closes the sending side.
func (s *SendBuffer) CloseWrite(to *Conn) error {
	switch {
	case to.via != nil: // END_STREAM closes it
		return nil
	case to.TLS != nil:
		_, err := s.sendRaw(to, to.TLS.CloseNotify())
		return err
	}
	return to.closeWrite()
}

// Compact makes space behind what is kept, for callers that add before all has gone.
func (s *SendBuffer) Compact() {
	if s.off > len(s.buf)/2 {
		s.buf, s.off = s.buf[:copy(s.buf, s.buf[s.off:])], 0
	}
}

// Empty reports whether nothing waits for to, neither here nor of a write that it had deferred. to may be nil: no connection.
func (s *SendBuffer) Empty(to *Conn) bool {
	return s.off == len(s.buf) && s.piped == 0 && (to == nil || to.unsentTail == nil)
}

// SpliceFrom moves up to limit bytes from a connection into the pipe. It returns EAGAIN if there is nothing,
// io.EOF at the end. The buffer must be clear.
func (s *SendBuffer) SpliceFrom(from *Conn, limit int64) (int64, error) {
	if s.pipe == nil {
		if s.pipe = from.Loop.Pipes.take(); s.pipe == nil {
			return 0, ErrNoPipe
		}
	}
	n, err := fillPipe(s.pipe, from, min(limit, pipeSize))
	switch {
	case err == syscall.EAGAIN:
		from.Readable = false
		return 0, err
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	s.piped += n
	return n, nil
}

// HasPipe reports whether bytes are in a pipe, or could be.
func (s *SendBuffer) HasPipe() bool { return s.pipe != nil }

// ErrNoPipe reports that the system has no pipe left.
var ErrNoPipe = syscall.EMFILE

// fillPipe moves up to most bytes from a connection into an empty pipe.
func fillPipe(p *pipe, from *Conn, most int64) (int64, error) {
	if from.prefetched == nil {
		return p.Fill(&from.FD, most)
	}
	var buf [shortRead]byte
	n, err := from.takePrefetched(buf[:min(most, shortRead)])
	if err == nil {
		n, err = p.Write(buf[:n])
	}
	return int64(n), err
}

// ReleasePipe frees an empty pipe.
func (s *SendBuffer) ReleasePipe(l *Loop) {
	if s.pipe != nil && s.piped == 0 {
		l.Pipes.put(s.pipe, true)
		s.pipe = nil
	}
}

// Discard drops what has not gone.
func (s *SendBuffer) Discard(l *Loop) {
	s.clearBuf()
	s.SentAhead = 0
	if s.pipe != nil {
		l.Pipes.put(s.pipe, s.piped == 0)
		s.pipe, s.piped = nil, 0
	}
}

func (s *SendBuffer) clearBuf() {
	if s.buf, s.off = s.buf[:0], 0; cap(s.buf) > maxKeptBuf {
		s.buf = nil
	}
}
