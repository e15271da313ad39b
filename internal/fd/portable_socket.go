//go:build !linux || evenkeel_portable

package fd

import (
	"context"
	"net"
	"net/netip"
)

// Connect begins a TCP connection with these options, once a Poller watches it. When it is writable, Connected says how that
// came out.
func Connect(to netip.AddrPort, o *TCPOptions) (FD, error) {
	return connect("tcp", to.String(), net.Dialer{KeepAliveConfig: o.KeepAliveConfig(), Control: o.Control}), nil
}

// ConnectUnix begins a connection to a unix socket, likewise.
func ConnectUnix(path string) (FD, error) { return connect("unix", path, net.Dialer{}), nil }

func connect(network, to string, by net.Dialer) FD {
	ctx, cancel := context.WithCancel(context.Background())
	s := newStream(nil)
	s.dial = &dial{dialer: by, network: network, to: to, ctx: ctx, cancel: cancel}
	return FD{at: s}
}

// Pair returns two connected sockets.
func Pair() (*FD, *FD, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }() // it has served
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	far, err := l.Accept()
	if err != nil {
		_ = near.Close() // nothing was sent
		return nil, nil, err
	}
	return &FD{at: newStream(near)}, &FD{at: newStream(far)}, nil
}
