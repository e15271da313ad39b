//go:build !race

package edge

import (
	"syscall"
	"unsafe"
)

const readsRaw = true

// readFD reads from a descriptor that does not block. The scheduler is not told: a
// call that comes back at once is not worth handing this thread's work to another, and
// on a busy machine that happens to calls of which it is told. The race detector must
// see the calls, since it takes a socket for what orders two goroutines.
func readFD(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

// writeFD does so for writing.
func writeFD(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

func call(number, fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
