//go:build unix && (!linux || race)

package edge

import "syscall"

const readsRaw = true

// readFD reads from a descriptor that does not block.
func readFD(fd uintptr, p []byte) (int, error) { return again(syscall.Read, fd, p) }

// writeFD writes to one.
func writeFD(fd uintptr, p []byte) (int, error) { return again(syscall.Write, fd, p) }

func again(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}
