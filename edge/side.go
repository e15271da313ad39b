package edge

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// side is a connection whose peer is given so much time for each octet, and that
// somebody else may cut. One goroutine reads, one writes.
type side struct {
	net.Conn
	raw                 syscall.RawConn // nil: descriptors are not read here
	readWait, writeWait time.Duration   // zero: any time
	reading, writing    patience
	isCut               atomic.Bool
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
	return s.Conn.Read(p)
}

func (s *side) Write(p []byte) (int, error) {
	s.awaitWrite()
	return s.Conn.Write(p)
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
