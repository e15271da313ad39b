//go:build !race

package raw

import (
	"syscall"
	"unsafe"
)

// Read reads from a descriptor that does not block.
func Read(fd int, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p, 0) }

// Write writes to one.
func Write(fd int, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p, 0) }

// Receive is Read for a socket, and costs less: what is done for files is left out.
func Receive(fd int, p []byte) (int, error) { return call(syscall.SYS_RECVFROM, fd, p, 0) }

// Send is Write for a socket, likewise.
func Send(fd int, p []byte) (int, error) {
	return call(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL)
}

// call makes one of these calls; read and write take no flags, and see none.
func call(number uintptr, fd int, p []byte, flags uintptr) (int, error) {
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
