//go:build !evenkeel_portable

package client

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// socketPair returns a socket and the connection at its other end.
func socketPair(t *testing.T) (*socket, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := toSocket(near).(*socket)
	if !ok {
		t.Fatal("a TCP connection did not become a socket")
	}
	t.Cleanup(func() { s.Close(); far.Close() })
	return s, far
}

// readings are the two ways to read; everything holds for both.
var readings = map[string]func(*socket, []byte) (int, error){"parked": (*socket).Read, "alone": (*socket).readBlocking}

func TestSocketReads(t *testing.T) {
	for name, read := range readings {
		t.Run(name, func(t *testing.T) {
			s, far := socketPair(t)
			buf := make([]byte, 16)
			for _, say := range []string{"a", "bc", "d"} {
				got := make(chan string)
				go func() {
					n, err := read(s, buf)
					got <- string(buf[:n])
					if err != nil {
						t.Error(err)
					}
				}()
				if _, err := far.Write([]byte(say)); err != nil {
					t.Fatal(err)
				}
				if g := <-got; g != say {
					t.Errorf("read %q, want %q", g, say)
				}
			}
			far.Close()
			if n, err := read(s, buf); n != 0 || err != io.EOF {
				t.Errorf("read = %d, %v after the other end closed, want EOF", n, err)
			}
		})
	}
}

func TestSocketTakesTurnsBetweenBothReadings(t *testing.T) {
	s, far := socketPair(t)
	buf := make([]byte, 1)
	for i := range 100 {
		go func() { _, _ = far.Write([]byte{byte(i)}) }()
		read := s.Read
		if i%3 == 0 {
			read = s.readBlocking
		}
		if n, err := read(buf); n != 1 || err != nil || buf[0] != byte(i) {
			t.Fatalf("reading %d: %d, %v, %v", i, n, err, buf)
		}
	}
}

func TestSocketReadersAreWoken(t *testing.T) {
	for name, read := range readings {
		for _, what := range []struct {
			name string
			do   func(*socket)
			want error
		}{
			{"close", func(s *socket) { s.Close() }, net.ErrClosed},
			{"deadline", func(s *socket) { s.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		} {
			t.Run(name+" by "+what.name, func(t *testing.T) {
				s, _ := socketPair(t)
				failed := make(chan error)
				go func() {
					_, err := read(s, make([]byte, 1))
					failed <- err
				}()
				what.do(s)
				err := <-failed
				if !errors.Is(err, what.want) {
					t.Errorf("read: %v, want %v", err, what.want)
				}
			})
		}
	}
}

// A writer whose peer does not read ends by its deadline, and says how far it came.
func TestSocketWriteDeadline(t *testing.T) {
	s, _ := socketPair(t)
	s.SetWriteDeadline(time.Now().Add(time.Millisecond))
	n, err := s.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 64<<20 {
		t.Errorf("Write = %d, %v, want a part and a deadline", n, err)
	}
}

func TestSocketClosesOnce(t *testing.T) {
	s, _ := socketPair(t)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v, want net.ErrClosed", err)
	}
	if _, err := s.Write([]byte("a")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v, want net.ErrClosed", err)
	}
	if _, err := s.readBlocking(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("readAlone after Close: %v, want net.ErrClosed", err)
	}
}
