//go:build unix

package fd

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// CopyFile returns a file of a copy of the descriptor of a connection or a listener of package
// net. Both share the socket, whose mode they see changed by each other.
func CopyFile(of any, name string) (*os.File, error) {
	n, err := duplicate(of)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), name), nil
}

// duplicate returns -1 with an error.
func duplicate(of any) (int, error) {
	open, ok := of.(syscall.Conn)
	if !ok {
		return -1, errors.New("it has no descriptor")
	}
	lent, err := open.SyscallConn()
	if err != nil {
		return -1, err
	}
	n := -1
	if bad := lent.Control(func(own uintptr) { n, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); bad != nil {
		return -1, bad
	}
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return n, nil
}
