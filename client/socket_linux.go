package client

import (
	"cmp"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// socket is a plain connection that can be read in two ways. Who reads for many sleeps in
// Go's poller, as with any net.Conn. Who reads the one answer that is expected sleeps in
// the system instead, as a ping would: Go's poller costs two calls more and, as often as
// not, the waking of another thread, half as much again as all the rest of an ask.
//
// For that the poller must not hear of the socket when nobody sleeps there. So what it
// watches is a second poller, in which the socket is armed for one event at a time.
type socket struct {
	fd            int
	armed         int // descriptor of the second poller
	parking       *os.File
	parked        syscall.RawConn // of parking
	uses          atomic.Int64    // calls under way, and closing once it is closed
	readBy        atomic.Int64    // the deadline as a balance.Instant; zero: none
	writeBy       atomic.Int64
	local, remote net.Addr
}

const (
	closing = 1 << 32
	drowse  = 50 * time.Millisecond // who sleeps in the system looks so often whether to go on
)

// direct returns the connection as a socket if it is a plain one and the system lets us.
func direct(conn net.Conn) net.Conn {
	open, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	s := &socket{fd: -1, armed: -1, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	if err := s.open(open); err != nil {
		s.forget()
		return conn
	}
	_ = conn.Close() // the descriptor is a copy
	return s
}

func (s *socket) open(conn syscall.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if bad := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); bad != nil || err != nil {
		return cmp.Or(bad, err)
	}
	if s.armed, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err = unix.EpollCtl(s.armed, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT}); err != nil {
		return err
	}
	if err = unix.SetNonblock(s.armed, true); err != nil { // or os.NewFile would not have it watched
		return err
	}
	s.parking = os.NewFile(uintptr(s.armed), "")
	if s.parked, err = s.parking.SyscallConn(); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(drowse.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, option, &wait); err != nil {
			return err
		}
	}
	return unix.SetNonblock(s.fd, false) // the last that can fail, for the mode is conn's too
}

// forget gives back what open has got.
func (s *socket) forget() {
	if s.parking != nil {
		_ = s.parking.Close()
	} else if s.armed >= 0 {
		_ = unix.Close(s.armed)
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// enter says that a call begins; false: the socket is closed.
func (s *socket) enter() bool {
	if s.uses.Add(1) < closing {
		return true
	}
	s.exit()
	return false
}

// exit says that it is over. The last one after Close gives the descriptor back, whose
// number would else be another's while a call still uses it.
func (s *socket) exit() {
	if s.uses.Add(-1) == closing {
		_ = unix.Close(s.fd) // all that was to be said has been
	}
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.exit()
	slept := false
	bad := s.parked.Read(func(uintptr) bool {
		if slept {
			s.disarm()
		}
		if n, err = s.receive(p); err != syscall.EAGAIN {
			return true
		}
		slept = true
		return s.arm() != nil
	})
	if bad != nil {
		s.disarm()
		return 0, s.parkingEnded(bad)
	}
	return s.outcome("read", n, err)
}

// parkingEnded is what a net.Conn says when nobody may sleep in the poller any more.
func (s *socket) parkingEnded(why error) error {
	if s.uses.Load() >= closing { // os would call it a file
		return net.ErrClosed
	}
	return why
}

// arm has the poller told when there is something to read, once.
func (s *socket) arm() error {
	return unix.EpollCtl(s.armed, unix.EPOLL_CTL_MOD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT})
}

// disarm takes what it was told.
func (s *socket) disarm() {
	var event [1]unix.EpollEvent
	_, _ = unix.EpollWait(s.armed, event[:], 0) // without an event, nothing was armed
}

// receive reads what is there, or returns EAGAIN.
func (s *socket) receive(p []byte) (int, error) { return transfer(unix.SYS_RECVFROM, s.fd, p) }

// readAlone is Read by one who may hold a thread meanwhile. It knows its deadline only to
// drowse.
func (s *socket) readAlone(p []byte) (int, error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.exit()
	for {
		n, err := syscall.Read(s.fd, p)
		switch {
		case err != syscall.EAGAIN && err != syscall.EINTR:
			return s.outcome("read", n, err)
		case s.uses.Load() >= closing:
			return 0, net.ErrClosed
		case overdue(&s.readBy):
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// tryRead implements drivable.
func (s *socket) tryRead(p []byte) (int, error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.exit()
	n, err := s.receive(p)
	if err == syscall.EAGAIN {
		return 0, err
	}
	return s.outcome("read", n, err)
}

// copy implements drivable.
func (s *socket) copy() (int, error) {
	if !s.enter() {
		return -1, net.ErrClosed
	}
	defer s.exit()
	return unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
}

// outcome is what a net.Conn says of a call that has returned.
func (s *socket) outcome(name string, n int, err error) (int, error) {
	switch {
	case err == nil && n > 0:
		return n, nil
	case s.uses.Load() >= closing:
		return 0, net.ErrClosed
	case err == nil:
		return 0, io.EOF
	}
	return 0, os.NewSyscallError(name, err)
}

// Write implements net.Conn. It knows its deadline only to drowse.
func (s *socket) Write(p []byte) (n int, err error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.exit()
	for n < len(p) {
		m, err := syscall.Write(s.fd, p[n:])
		n += max(0, m)
		switch {
		case err == nil:
		case err != syscall.EAGAIN && err != syscall.EINTR:
			return n, os.NewSyscallError("write", err)
		case s.uses.Load() >= closing:
			return n, net.ErrClosed
		case overdue(&s.writeBy):
			return n, os.ErrDeadlineExceeded
		}
	}
	return n, nil
}

// trySend implements drivable.
func (s *socket) trySend(p []byte) (int, error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.exit()
	n, err := transfer(unix.SYS_SENDTO, s.fd, p)
	if err == syscall.EAGAIN {
		return 0, nil
	}
	return n, err
}

// transfer makes a call that returns at once, so that Go's scheduler need not know of it.
func transfer(number uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Close implements net.Conn. Whoever sleeps in a call is woken.
func (s *socket) Close() error {
	for {
		n := s.uses.Load()
		if n >= closing {
			return net.ErrClosed
		}
		if s.uses.CompareAndSwap(n, n+1+closing) {
			break
		}
	}
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // an error says that there is nobody at the other end
	_ = s.parking.Close()
	s.exit()
	return nil
}

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
	return s.parking.SetReadDeadline(t)
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
