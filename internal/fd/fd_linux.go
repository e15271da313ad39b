//go:build !evenkeel_portable

package fd

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// FD is a descriptor with one owner. The zero FD is closed. It is not safe for concurrent
// use, except that several goroutines may use one while none closes or moves it. Sockets,
// eventfds and pipes made here do not block, and are closed when a program is started.
type FD struct {
	_     noCopy
	above int // the number plus one; zero: closed
}

// noCopy has go vet refuse copies of an FD: two of them would both close it.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// IsOpen reports whether f has a descriptor.
func (f *FD) IsOpen() bool { return f.above != 0 }

// number is -1 if f is closed, which no system call takes.
func (f *FD) number() int { return f.above - 1 }

// Move passes the descriptor on. f is closed from then on, and the descriptor is not.
func (f *FD) Move() FD {
	above := f.above
	f.above = 0
	return FD{above: above}
}

// Close closes the descriptor. Of a closed FD it does nothing.
func (f *FD) Close() {
	if n := f.number(); n >= 0 {
		f.above = 0
		_ = unix.Close(n) // nothing is left to be written, and the number is free in any case
	}
}

// Read reads from a descriptor that does not block.
func (f *FD) Read(p []byte) (int, error) { return Borrowed(f.number()).Read(p) }

// Write writes to one.
func (f *FD) Write(p []byte) (int, error) { return Borrowed(f.number()).Write(p) }

// Receive is Read for a socket, and costs less: what is done for files is left out.
func (f *FD) Receive(p []byte) (int, error) { return Borrowed(f.number()).Receive(p) }

// Send is Write for a socket, with the same saving.
func (f *FD) Send(p []byte) (int, error) { return Borrowed(f.number()).Send(p) }

// Copy duplicates the descriptor of a connection or a listener of package net. Both share
// the socket, whose mode they see changed by each other.
func Copy(of any) (FD, error) {
	n, err := duplicate(of)
	return FD{above: n + 1}, err
}

// Copy duplicates the descriptor.
func (f *FD) Copy() (FD, error) {
	if !f.IsOpen() {
		return FD{}, ErrClosed
	}
	n, err := unix.FcntlInt(uintptr(f.number()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return FD{}, os.NewSyscallError("fcntl", err)
	}
	return FD{above: n + 1}, nil
}

// File makes a file of the descriptor, which is the file's from then on.
func (f *FD) File(name string) (*os.File, error) {
	if !f.IsOpen() {
		return nil, ErrClosed
	}
	moved := f.Move()
	return os.NewFile(uintptr(moved.number()), name), nil
}

// Conn makes a connection of package net of the socket. The descriptor is the
// connection's from then on, or closed if that fails.
func (f *FD) Conn() (net.Conn, error) {
	file, err := f.File("connection")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the connection has a copy
	return net.FileConn(file)
}

// Take makes an FD of a connection of package net, which is of no more use from then on.
func Take(conn net.Conn) (FD, error) {
	f, err := Copy(conn)
	_ = conn.Close() // the descriptor is a copy
	return f.Move(), err
}

// CopyListener returns n FDs by which n goroutines accept the connections of one listener. They
// share its socket, and closing them does not close it. An error says that it has no descriptor.
func CopyListener(l net.Listener, n int) ([]*FD, error) {
	copies := make([]*FD, 0, n)
	for range n {
		f, err := Copy(l)
		if err != nil {
			for _, c := range copies {
				c.Close()
			}
			return nil, err
		}
		moved := f.Move()
		copies = append(copies, &moved)
	}
	return copies, nil
}
