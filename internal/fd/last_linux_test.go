package fd

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// What has connected before can be accepted, and who connects later is refused when the listener is closed, never connected and then reset.
func TestAListenerThatStopsConnectingLosesNothing(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		plain := net.ListenConfig{}
		plain.SetMultipathTCP(false) // whose sockets take no filter
		l, err := plain.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // without IPv6
			continue
		}
		before, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := StopConnecting(l); err != nil {
			t.Fatal(err)
		}
		after := make(chan error, 1)
		go func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				_ = c.Close() // it should not be there
			}
			after <- err
		}()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := before.Write([]byte("x")); err != nil {
			t.Errorf("%s: write on a connection from before: %v", address, err)
		}
		if n, err := accepted.Read(make([]byte, 1)); n != 1 {
			t.Errorf("%s: got %d bytes (%v) on a connection from before, want 1", address, n, err)
		}
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
		if c, err := l.Accept(); err == nil {
			t.Errorf("%s: accepted %v, which connected later", address, c.RemoteAddr())
		}
		for _, c := range []interface{ Close() error }{l, before, accepted} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-after; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: who connected later got %v, want that it is refused", address, err)
		}
	}
}
