//go:build !evenkeel_portable

package fd

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Shared is a connected socket that several goroutines use and any of them closes. Each
// call counts itself, and the last one after Close closes the descriptor, whose number
// would else be another's while a call still uses it. A call that begins after Close
// counts nothing and makes no system call.
//
// It can be read in two ways. Read sleeps in Go's poller, as a net.Conn does. ReadAlone sleeps in the system instead, as a ping would: Go's
// poller costs two calls more and, as often as not, the waking of another thread. For that Go's poller must not watch the socket while no
// goroutine sleeps in it. So it watches a second epoll set, in which the socket is armed for one event at a time.
type Shared struct {
	fd      FD
	set     FD              // the epoll set; a copy of parking's
	uses    atomic.Int64    // calls under way, and closing once it is closed
	parking *os.File        // the epoll set in Go's poller
	parked  syscall.RawConn // of parking
}

const closing = 1 << 32

// NewShared copies the descriptor of a connection. It changes the mode of the socket, so
// conn is of no more use but to be closed. Calls that sleep in the system return EAGAIN
// after nap.
func NewShared(conn net.Conn, nap time.Duration) (*Shared, error) {
	s := new(Shared)
	if err := s.open(conn, nap); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

func (s *Shared) open(conn net.Conn, nap time.Duration) (err error) {
	if s.fd, err = Copy(conn); err != nil {
		return err
	}
	n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	s.set = FD{above: n + 1}
	if err := s.control(unix.EPOLL_CTL_ADD, unix.EPOLLONESHOT); err != nil {
		return err
	}
	watched, err := s.set.Copy()
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(watched.number(), true); err != nil { // or os.NewFile would not have it watched
		watched.Close()
		return err
	}
	if s.parking, err = watched.File("socket"); err != nil {
		return err
	}
	if s.parked, err = s.parking.SyscallConn(); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(nap.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(s.fd.number(), unix.SOL_SOCKET, option, &wait); err != nil {
			return err
		}
	}
	return unix.SetNonblock(s.fd.number(), false) // the last that can fail, for the mode is conn's too
}

// free closes what open has got. No call is under way.
func (s *Shared) free() {
	if s.parking != nil {
		_ = s.parking.Close()
	}
	s.set.Close()
	s.fd.Close()
}

// enter counts a call that begins; false: the socket is closed, and nothing was counted.
// What was counted and taken back would let exit close the descriptor a second time.
func (s *Shared) enter() bool {
	for {
		n := s.uses.Load()
		if n >= closing {
			return false
		}
		if s.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// exit ends a call. The last one after Close closes the descriptors.
func (s *Shared) exit() {
	if s.uses.Add(-1) == closing {
		s.free()
	}
}

// IsClosed reports whether Close has been called.
func (s *Shared) IsClosed() bool { return s.uses.Load() >= closing }

// Close ends all calls, those that sleep too. Of a closed Shared it returns ErrClosed.
func (s *Shared) Close() error {
	for {
		n := s.uses.Load()
		if n >= closing {
			return ErrClosed
		}
		if s.uses.CompareAndSwap(n, n+1+closing) {
			break
		}
	}
	_ = unix.Shutdown(s.fd.number(), unix.SHUT_RDWR) // an error says that the peer has gone
	_ = s.parking.Close()
	s.exit()
	return nil
}

// Read sleeps in Go's poller until there is something to read, until the deadline for
// reading, or until Close.
func (s *Shared) Read(p []byte) (n int, err error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.exit()
	slept := false
	bad := s.parked.Read(func(uintptr) bool {
		if slept {
			s.disarm()
		}
		if n, err = s.transfer(unix.SYS_RECVFROM, p); err != syscall.EAGAIN {
			return true
		}
		slept = true
		return s.arm() != nil
	})
	if bad != nil {
		s.disarm()
		return 0, s.ended(bad)
	}
	return s.outcome("read", n, err)
}

// ended is the error of a sleep that was ended.
func (s *Shared) ended(why error) error {
	if s.IsClosed() { // os would call it a file
		return ErrClosed
	}
	return why
}

// arm has Go's poller told when there is something to read, once.
func (s *Shared) arm() error {
	return s.control(unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLONESHOT)
}

// disarm takes what it was told.
func (s *Shared) disarm() {
	var event [1]unix.EpollEvent
	_, _ = unix.EpollWait(s.set.number(), event[:], 0) // without an event, nothing was armed
}

func (s *Shared) control(what int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.set.number(), what, s.fd.number(), &unix.EpollEvent{Events: events}))
}

// ReadAlone sleeps in the system, which holds a thread. Nothing to read yet is EAGAIN, at
// the latest after a nap.
func (s *Shared) ReadAlone(p []byte) (int, error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.exit()
	for {
		n, err := syscall.Read(s.fd.number(), p)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && !s.IsClosed():
			return 0, err
		default:
			return s.outcome("read", n, err)
		}
	}
}

// TryRead reads what is there; EAGAIN: nothing is.
func (s *Shared) TryRead(p []byte) (int, error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.exit()
	n, err := s.transfer(unix.SYS_RECVFROM, p)
	if err == syscall.EAGAIN {
		return 0, err
	}
	return s.outcome("read", n, err)
}

// Write writes what goes within a nap. It returns EAGAIN if that is nothing.
func (s *Shared) Write(p []byte) (int, error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.exit()
	for {
		n, err := syscall.Write(s.fd.number(), p)
		switch {
		case err == nil:
			return n, nil
		case err == syscall.EINTR:
		case s.IsClosed():
			return 0, ErrClosed
		case err == syscall.EAGAIN:
			return 0, err
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// TryWrite writes what goes at once, perhaps nothing.
func (s *Shared) TryWrite(p []byte) (int, error) {
	if !s.enter() {
		return 0, ErrClosed
	}
	defer s.exit()
	n, err := s.transfer(unix.SYS_SENDTO, p)
	if err == syscall.EAGAIN {
		return 0, nil
	}
	return n, err
}

// Copy duplicates the descriptor.
func (s *Shared) Copy() (FD, error) {
	if !s.enter() {
		return FD{}, ErrClosed
	}
	defer s.exit()
	return s.fd.Copy()
}

// SetReadDeadline is for Read.
func (s *Shared) SetReadDeadline(t time.Time) error {
	if err := s.parking.SetReadDeadline(t); err != nil {
		return s.ended(err)
	}
	return nil
}

// outcome is what a net.Conn returns of a read that has ended.
func (s *Shared) outcome(name string, n int, err error) (int, error) {
	switch {
	case err == nil && n > 0:
		return n, nil
	case s.IsClosed():
		return 0, ErrClosed
	case err == nil:
		return 0, io.EOF
	}
	return 0, os.NewSyscallError(name, err)
}

// transfer makes a call that returns at once, so that Go's scheduler need not know of it.
// The socket itself blocks.
func (s *Shared) transfer(number uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(number, uintptr(s.fd.number()), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
