//go:build !evenkeel_portable

package fd

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a listener accepts has the listener's options, so that an accept costs no call more.
func TestAcceptedConnectionsInheritTCPOptions(t *testing.T) {
	plain := net.ListenConfig{}
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	listener, err := Copy(l)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	o := &TCPOptions{KeepaliveIdle: 7 * time.Second, KeepaliveInterval: 1500 * time.Millisecond, KeepaliveCount: 5, UserTimeout: 11500 * time.Millisecond}
	if !listener.SetTCPOptions(o) {
		t.Error("the listener has not taken all options")
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, _, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	connected, err := Connect(l.Addr().(*net.TCPAddr).AddrPort(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	for name, f := range map[string]*FD{"accepted": &accepted, "connected": &connected} {
		for _, c := range []struct{ level, option, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 11500},
		} {
			if got, err := unix.GetsockoptInt(f.number(), c.level, c.option); err != nil || got != c.want {
				t.Errorf("%s: option %d of level %d is %d (%v), want %d", name, c.option, c.level, got, err, c.want)
			}
		}
	}
}
