//go:build !evenkeel_portable

package fd

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sharedPair returns a Shared and the connection at its other end.
func sharedPair(t *testing.T) (*Shared, net.Conn) {
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
	s, err := NewShared(near, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	t.Cleanup(func() { s.Close(); far.Close() })
	return s, far
}

// usesOfShared are the calls on one, but for Close.
var usesOfShared = map[string]func(*Shared) error{
	"Read":            func(s *Shared) error { _, err := s.Read(make([]byte, 1)); return err },
	"ReadAlone":       func(s *Shared) error { _, err := s.ReadAlone(make([]byte, 1)); return err },
	"TryRead":         func(s *Shared) error { _, err := s.TryRead(make([]byte, 1)); return err },
	"Write":           func(s *Shared) error { _, err := s.Write([]byte("x")); return err },
	"TryWrite":        func(s *Shared) error { _, err := s.TryWrite([]byte("x")); return err },
	"Copy":            func(s *Shared) error { f, err := s.Copy(); f.Close(); return err },
	"SetReadDeadline": func(s *Shared) error { return s.SetReadDeadline(time.Now().Add(time.Second)) },
}

// What is called after Close must not touch the descriptors' numbers: by then they may be
// another's.
func TestClosedSharedLeavesItsNumbersAlone(t *testing.T) {
	uses := map[string]func(*Shared) error{"Close": (*Shared).Close}
	for name, use := range usesOfShared {
		uses[name] = use
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			s, _ := sharedPair(t)
			numbers := []int{s.fd.number(), s.set.number()}
			s.Close()
			heirs := inherit(t, numbers...)
			for range 2 {
				if err := use(s); !errors.Is(err, net.ErrClosed) {
					t.Errorf("error %v, want %v", err, ErrClosed)
				}
			}
			heirs.check(t)
		})
	}
}

// Whatever is under way when a Shared is closed, the descriptor is closed once and only
// when nothing uses it any more.
func TestSharedIsClosedOnce(t *testing.T) {
	for range 200 {
		s, far := sharedPair(t)
		var uses sync.WaitGroup
		for name, use := range usesOfShared {
			uses.Go(func() {
				for {
					switch err := use(s); {
					case err == nil, err == syscall.EAGAIN, errors.Is(err, os.ErrDeadlineExceeded):
					case errors.Is(err, unix.EBADF):
						t.Errorf("%s: %v", name, err)
						return
					default:
						return // closed, or its peer is gone
					}
				}
			})
		}
		_, _ = far.Write([]byte("hello"))
		s.Close()
		uses.Wait()
		if s.fd.IsOpen() || s.set.IsOpen() || s.uses.Load() != closing {
			t.Fatalf("descriptor open %v, set open %v, %d uses; want all closed and no use", s.fd.IsOpen(), s.set.IsOpen(), s.uses.Load()-closing)
		}
	}
}
