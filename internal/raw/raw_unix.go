//go:build unix && (!linux || race)

package raw

import "syscall"

// Read reads from a descriptor that does not block.
func Read(fd int, p []byte) (int, error) { return again(syscall.Read, fd, p) }

// Write writes to one.
func Write(fd int, p []byte) (int, error) { return again(syscall.Write, fd, p) }

// Receive is Read for a socket.
func Receive(fd int, p []byte) (int, error) { return Read(fd, p) }

// Send is Write for a socket.
func Send(fd int, p []byte) (int, error) { return Write(fd, p) }

func again(call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		n, err := call(fd, p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}
