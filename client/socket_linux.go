//go:build !evenkeel_portable

package client

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// socket is a plain connection that can be read in two ways. A reader that serves many waits in Go's poller. A
// reader that expects one answer blocks in the system call (see fd.Shared), which saves half as much again as
// all the rest of an ask.
type socket struct {
	fd            *fd.Shared
	readBy        atomic.Int64 // a balance.Instant; zero: none
	writeBy       atomic.Int64
	local, remote net.Addr
}

// pollInterval is how often a blocking call returns to check its deadline.
const pollInterval = 50 * time.Millisecond

// toSocket returns the connection as a socket if it is a plain one and its descriptor can be copied; else
// conn.
func toSocket(conn net.Conn) net.Conn {
	shared, err := fd.NewShared(conn, pollInterval)
	if err != nil {
		return conn
	}
	s := &socket{fd: shared, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	_ = conn.Close() // the descriptor is a copy
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) { return s.fd.Read(p) }

// readBlocking is Read for a caller that may block a thread. Its deadline is exact to pollInterval.
func (s *socket) readBlocking(p []byte) (int, error) {
	for {
		n, err := s.fd.ReadAlone(p)
		switch {
		case err != syscall.EAGAIN:
			return n, err
		case isOverdue(&s.readBy):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// tryRead implements drivable.
func (s *socket) tryRead(p []byte) (int, error) { return s.fd.TryRead(p) }

// copyFD implements drivable.
func (s *socket) copyFD() (fd.FD, error) { return s.fd.Copy() }

// Write implements net.Conn. Its deadline is exact to pollInterval.
func (s *socket) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := s.fd.Write(p[n:])
		n += m
		switch {
		case err == nil:
		case err != syscall.EAGAIN:
			return n, err
		case isOverdue(&s.writeBy):
			return n, os.ErrDeadlineExceeded
		}
	}
	return n, nil
}

// tryWrite implements drivable.
func (s *socket) tryWrite(p []byte) (int, error) { return s.fd.TryWrite(p) }

// Close implements net.Conn. Blocked calls return.
func (s *socket) Close() error { return s.fd.Close() }

// LocalAddr implements net.Conn.
func (s *socket) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	_ = s.SetWriteDeadline(t) // it cannot fail
	return s.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.readBy.Store(deadlineInstant(t))
	return s.fd.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.writeBy.Store(deadlineInstant(t))
	return nil
}

// deadlineInstant converts a deadline to the monotonic clock; zero: none.
func deadlineInstant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(clock.Now().Add(time.Until(t)))
}

func isOverdue(by *atomic.Int64) bool {
	due := balance.Instant(by.Load())
	return due != 0 && clock.Now() >= due
}
