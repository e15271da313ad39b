//go:build !race

package fd

import (
	"syscall"
	"unsafe"
)

// Read reads from a descriptor that does not block.
func (b Borrowed) Read(p []byte) (int, error) { return call(syscall.SYS_READ, int(b), p, 0) }

// Write writes to one.
func (b Borrowed) Write(p []byte) (int, error) { return call(syscall.SYS_WRITE, int(b), p, 0) }

// Receive is Read for a socket.
func (b Borrowed) Receive(p []byte) (int, error) { return call(syscall.SYS_RECVFROM, int(b), p, 0) }

// Send is Write for a socket.
func (b Borrowed) Send(p []byte) (int, error) {
	return call(syscall.SYS_SENDTO, int(b), p, syscall.MSG_NOSIGNAL)
}

// call makes one of these calls; read and write take no flags, and see none.
func call(number uintptr, fd int, p []byte, flags uintptr) (int, error) {
	if fd < 0 {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
