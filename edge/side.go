package edge

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// side is a connection whose peer is given so much time for each byte, and that
// somebody else may cut. One goroutine reads, one writes.
type side struct {
	net.Conn
	raw                 syscall.RawConn // nil: descriptors are not read here
	readWait, writeWait time.Duration   // zero: any time
	reading, writing    patience
	isCut               atomic.Bool

	input, output inOut
}

// inOut is a read or a write under way on a descriptor.
type inOut struct {
	once func(fd uintptr) bool // bound to the side, lest every call allocate
	buf  []byte
	n    int
	err  error
}

// begin makes a side of a connection that nobody else reads or writes.
func (s *side) begin(conn net.Conn) {
	s.Conn, s.raw = conn, rawOf(conn)
	s.input.once, s.output.once = s.readOnce, s.writeOnce
}

// rawOf returns nil if conn's descriptor cannot be had.
func rawOf(conn net.Conn) syscall.RawConn {
	if c, ok := conn.(syscall.Conn); ok && readsRaw {
		raw, _ := c.SyscallConn() // an error is the connection's, which whoever uses it will see
		return raw
	}
	return nil
}

func (s *side) Read(p []byte) (int, error) {
	s.awaitRead()
	return s.take(p)
}

// take is Read for a wait that has its deadline.
func (s *side) take(p []byte) (int, error) {
	if s.raw == nil {
		return s.Conn.Read(p)
	}
	s.input.buf, s.input.n, s.input.err = p, 0, nil
	err := s.raw.Read(s.input.once)
	s.input.buf = nil
	switch {
	case err != nil:
		return 0, err
	case s.input.err != nil:
		return 0, os.NewSyscallError("read", s.input.err)
	case s.input.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return s.input.n, nil
}

func (s *side) readOnce(fd uintptr) bool {
	s.input.n, s.input.err = readFD(fd, s.input.buf)
	return s.input.err != syscall.EAGAIN
}

func (s *side) Write(p []byte) (int, error) {
	s.awaitWrite()
	if s.raw == nil {
		return s.Conn.Write(p)
	}
	s.output.buf, s.output.n, s.output.err = p, 0, nil
	err := s.raw.Write(s.output.once)
	s.output.buf = nil
	if err == nil && s.output.err != nil {
		err = os.NewSyscallError("write", s.output.err)
	}
	return s.output.n, err
}

// writeOnce writes what goes, and reports whether that is all.
func (s *side) writeOnce(fd uintptr) bool {
	for s.output.n < len(s.output.buf) {
		n, err := writeFD(fd, s.output.buf[s.output.n:])
		if err == syscall.EAGAIN {
			s.awaitWrite()
			return false
		}
		s.output.n += n
		if s.output.err = err; err != nil {
			return true
		}
	}
	return true
}

// awaitRead gives the peer its time to send something.
func (s *side) awaitRead() {
	if s.readWait == 0 {
		return
	}
	if t := s.reading.hold(clock.Now(), s.readWait); !t.IsZero() {
		s.readUntil(t)
	}
}

// awaitWrite gives the peer its time to take something.
func (s *side) awaitWrite() {
	if s.writeWait == 0 {
		return
	}
	if t := s.writing.hold(clock.Now(), s.writeWait); !t.IsZero() {
		_ = s.SetWriteDeadline(t) // an error is the connection's, which whoever writes will see
		s.recut()
	}
}

// readUntil sets a deadline for reads; the zero Time sets none.
func (s *side) readUntil(t time.Time) {
	_ = s.SetReadDeadline(t)
	s.recut()
}

// recut makes a cut hold that came while a deadline was being set.
func (s *side) recut() {
	if s.isCut.Load() {
		_ = s.SetDeadline(past)
	}
}

// cut ends whatever waits for the peer, and all that will. Anybody may call it.
func (s *side) cut() {
	s.isCut.Store(true)
	_ = s.SetDeadline(past)
}

// mend takes a cut back, for a last word to the peer.
func (s *side) mend() {
	s.isCut.Store(false)
	_ = s.SetDeadline(time.Time{})
	s.reading, s.writing = patience{}, patience{}
}

// closeWrite tells the peer that nothing more will come.
func (s *side) closeWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}
