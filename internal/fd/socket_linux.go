//go:build !evenkeel_portable

package fd

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connect begins a TCP connection with these options. Once the socket is writable, Connected
// says how that came out.
func Connect(to netip.AddrPort, o *TCPOptions) (FD, error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if ip := to.Addr().Unmap(); ip.Is4() {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	}
	n, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return FD{}, os.NewSyscallError("socket", err)
	}
	f := FD{above: n + 1}
	f.SetTCPOptions(o)
	if err := unix.Connect(n, at); err != nil && err != unix.EINPROGRESS {
		f.Close()
		return FD{}, os.NewSyscallError("connect", err)
	}
	return f.Move(), nil
}

// ConnectUnix begins a connection to a unix socket, and does not block: EAGAIN says that its queue is full.
func ConnectUnix(path string) (FD, error) {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return FD{}, os.NewSyscallError("socket", err)
	}
	f := FD{above: n + 1}
	switch err := unix.Connect(n, &unix.SockaddrUnix{Name: path}); err {
	case nil, unix.EINPROGRESS:
		return f.Move(), nil
	case unix.EAGAIN:
		f.Close()
		return FD{}, err
	default:
		f.Close()
		return FD{}, os.NewSyscallError("connect", err)
	}
}

// Connected returns how a connection that was begun has come out.
func (f *FD) Connected() error {
	if !f.IsOpen() {
		return ErrClosed
	}
	code, err := unix.GetsockoptInt(f.number(), unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case code != 0:
		return os.NewSyscallError("connect", syscall.Errno(code))
	}
	return nil
}

// Accept takes a connection from a listener's queue. Errors are syscall.Errno.
func (f *FD) Accept() (FD, netip.AddrPort, error) {
	if !f.IsOpen() {
		return FD{}, netip.AddrPort{}, ErrClosed
	}
	n, from, err := unix.Accept4(f.number(), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return FD{}, netip.AddrPort{}, err
	}
	return FD{above: n + 1}, addressOf(from), nil
}

// LocalAddress is the zero AddrPort if there is none to be had.
func (f *FD) LocalAddress() netip.AddrPort {
	if !f.IsOpen() {
		return netip.AddrPort{}
	}
	at, err := unix.Getsockname(f.number())
	if err != nil {
		return netip.AddrPort{}
	}
	return addressOf(at)
}

func addressOf(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.ZoneId != 0 && ip.Is6() {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				ip = ip.WithZone(i.Name)
			}
		}
		return netip.AddrPortFrom(ip, uint16(a.Port))
	}
	return netip.AddrPort{}
}

// Pair returns two connected sockets.
func Pair() (*FD, *FD, error) {
	n, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return &FD{above: n[0] + 1}, &FD{above: n[1] + 1}, nil
}

// CloseWrite tells the peer that nothing more will come.
func (f *FD) CloseWrite() error {
	if !f.IsOpen() {
		return ErrClosed
	}
	return unix.Shutdown(f.number(), unix.SHUT_WR)
}

// ResetOnClose has Close break the connection off. One that is gone needs that no more.
func (f *FD) ResetOnClose() {
	if f.IsOpen() {
		_ = unix.SetsockoptLinger(f.number(), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// NothingToRead reports whether a socket has neither bytes nor the peer's end to read.
func (f *FD) NothingToRead() bool {
	var one [1]byte
	_, err := f.Peek(one[:])
	return err == unix.EAGAIN
}

// Peek reads without taking, from a socket.
func (f *FD) Peek(p []byte) (int, error) {
	if !f.IsOpen() {
		return 0, ErrClosed
	}
	n, _, err := unix.Recvfrom(f.number(), p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n, err
}

// Unacked reports whether the peer's machine has not yet taken all that was sent.
func (f *FD) Unacked() bool { return f.IsOpen() && Borrowed(f.number()).Unacked() }
