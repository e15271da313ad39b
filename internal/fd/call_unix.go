//go:build unix && (!linux || race)

package fd

import "syscall"

// Read reads from a descriptor that does not block.
func (b Borrowed) Read(p []byte) (int, error) { return again(syscall.Read, int(b), p) }

// Write writes to one.
func (b Borrowed) Write(p []byte) (int, error) { return again(syscall.Write, int(b), p) }

// Receive is Read for a socket.
func (b Borrowed) Receive(p []byte) (int, error) { return b.Read(p) }

// Send is Write for a socket.
func (b Borrowed) Send(p []byte) (int, error) { return b.Write(p) }

func again(call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	if fd < 0 {
		return 0, ErrClosed
	}
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
