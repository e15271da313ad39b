//go:build !race

package raw

import (
	"syscall"
	"unsafe"
)

// Read reads from a descriptor that does not block.
func Read(fd int, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

// Write writes to one.
func Write(fd int, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

func call(number uintptr, fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
