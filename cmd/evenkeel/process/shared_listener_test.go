//go:build unix

package process

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A loop that accepts until there is nothing more must not sleep in accept, at no moment:
// all that it serves would wait for the next connection.
func TestLendingNeverMakesASocketBlocking(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	stop, watched := make(chan struct{}), make(chan int)
	go func() {
		blocking := 0
		defer func() { watched <- blocking }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := raw.Control(func(fd uintptr) {
				if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
					blocking++
				}
			}); err != nil {
				blocking++
			}
		}
	}()
	for range 5000 {
		second, err := shareListener(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if n := <-watched; n > 0 {
		t.Errorf("found the socket blocking %d times", n)
	}
}
