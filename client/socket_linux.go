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

// socket is a plain connection that can be read in two ways: a reader that reads for many
// sleeps in Go's poller, and one that reads the one answer that is expected sleeps in the
// system (see fd.Shared). That saves half as much again as all the rest of an ask.
type socket struct {
	fd            *fd.Shared
	readBy        atomic.Int64 // the deadline as a balance.Instant; zero: none
	writeBy       atomic.Int64
	local, remote net.Addr
}

// drowse is how often a call that sleeps in the system looks whether to go on.
const drowse = 50 * time.Millisecond

// direct returns the connection as a socket if it is a plain one and the system lets us.
func direct(conn net.Conn) net.Conn {
	shared, err := fd.NewShared(conn, drowse)
	if err != nil {
		return conn
	}
	s := &socket{fd: shared, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	_ = conn.Close() // the descriptor is a copy
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) { return s.fd.Read(p) }

// readAlone is Read by a caller that may hold a thread meanwhile. It knows its deadline only
// to drowse.
func (s *socket) readAlone(p []byte) (int, error) {
	for {
		n, err := s.fd.ReadAlone(p)
		switch {
		case err != syscall.EAGAIN:
			return n, err
		case overdue(&s.readBy):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// tryRead implements drivable.
func (s *socket) tryRead(p []byte) (int, error) { return s.fd.TryRead(p) }

// copy implements drivable.
func (s *socket) copy() (fd.FD, error) { return s.fd.Copy() }

// Write implements net.Conn. It knows its deadline only to drowse.
func (s *socket) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := s.fd.Write(p[n:])
		n += m
		switch {
		case err == nil:
		case err != syscall.EAGAIN:
			return n, err
		case overdue(&s.writeBy):
			return n, os.ErrDeadlineExceeded
		}
	}
	return n, nil
}

// trySend implements drivable.
func (s *socket) trySend(p []byte) (int, error) { return s.fd.TryWrite(p) }

// Close implements net.Conn. Calls that sleep are woken.
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
	s.readBy.Store(instant(t))
	return s.fd.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.writeBy.Store(instant(t))
	return nil
}

// instant is when a deadline is over by the clock that never jumps.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(clock.Now().Add(time.Until(t)))
}

func overdue(by *atomic.Int64) bool {
	due := balance.Instant(by.Load())
	return due != 0 && clock.Now() >= due
}
