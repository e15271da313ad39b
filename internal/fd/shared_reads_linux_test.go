//go:build !evenkeel_portable

package fd

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// readsOfShared are the ways to read one. Those that return EAGAIN are called again.
var readsOfShared = map[string]func(*Shared, []byte) (int, error){
	"Read":      (*Shared).Read,
	"ReadAlone": (*Shared).ReadAlone,
	"TryRead":   (*Shared).TryRead,
}

// untilRead calls a way to read until it does not return EAGAIN.
func untilRead(s *Shared, read func(*Shared, []byte) (int, error)) (string, error) {
	for {
		p := make([]byte, 100)
		n, err := read(s, p)
		if err != syscall.EAGAIN {
			return string(p[:n]), err
		}
		time.Sleep(time.Millisecond) // of those that do not wait
	}
}

// wantUses fails when calls are counted that have ended: the descriptor would never be closed.
func wantUses(t *testing.T, s *Shared) {
	t.Helper()
	if uses := s.uses.Load(); uses != 0 {
		t.Errorf("%d calls are under way, and all have ended", uses)
	}
}

// Each read sleeps again for what comes next, and returns the peer's end, also again.
func TestReadsOfShared(t *testing.T) {
	for name, read := range readsOfShared {
		t.Run(name, func(t *testing.T) {
			s, far := sharedPair(t)
			type outcome struct {
				text string
				err  error
			}
			come := make(chan outcome)
			go func() {
				for {
					text, err := untilRead(s, read)
					come <- outcome{text, err}
					if err != nil {
						close(come)
						return
					}
				}
			}()
			for _, text := range []string{"one", "two", "three"} {
				if _, err := far.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				if got := <-come; got.text != text || got.err != nil {
					t.Errorf("read %q, %v, want %q", got.text, got.err, text)
				}
			}
			_ = far.Close()
			if got := <-come; got.text != "" || got.err != io.EOF {
				t.Errorf("at the end: %q, %v", got.text, got.err)
			}
			if text, err := untilRead(s, read); text != "" || err != io.EOF {
				t.Errorf("behind the end: %q, %v", text, err)
			}
			wantUses(t, s)
		})
	}
}

func TestReadsOfSharedTellOfAReset(t *testing.T) {
	for name, read := range readsOfShared {
		s, far := sharedPair(t)
		_ = far.(*net.TCPConn).SetLinger(0)
		_ = far.Close()
		if text, err := untilRead(s, read); text != "" || !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, new(*os.SyscallError)) {
			t.Errorf("%s: %q, %v, want the call and that the peer has reset it", name, text, err)
		}
		wantUses(t, s)
	}
}

// A deadline ends Read alone, and what comes after another one is read.
func TestADeadlineEndsARead(t *testing.T) {
	s, far := sharedPair(t)
	for _, text := range []string{"one", "two"} {
		if err := s.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d, %v, want the end of the time", n, err)
		}
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := untilRead(s, (*Shared).Read); got != text || err != nil {
			t.Errorf("read %q, %v, want %q", got, err, text)
		}
	}
	wantUses(t, s)
}

// Close ends the reads that sleep, with its own error.
func TestCloseEndsReadsOfShared(t *testing.T) {
	for name, read := range readsOfShared {
		s, _ := sharedPair(t)
		ended := make(chan error)
		go func() {
			_, err := untilRead(s, read)
			ended <- err
		}()
		for s.uses.Load() == 0 && name == "Read" { // the call has begun
			time.Sleep(time.Millisecond)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, ErrClosed)
		}
		if s.uses.Load() != closing || s.fd.IsOpen() || s.set.IsOpen() {
			t.Errorf("%s: descriptor open %v, set open %v", name, s.fd.IsOpen(), s.set.IsOpen())
		}
	}
}

// A peer that takes nothing stops writes, and no byte that was reported as written is lost.
func TestWritesOfShared(t *testing.T) {
	s, far := sharedPair(t)
	sent := 0
	p := make([]byte, 1<<20)
	for full := false; !full; { // the system may still move bytes to the peer's side, and so make room for more
		n, err := s.TryWrite(p)
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n > 0 {
			continue
		}
		n, err = s.Write(p)
		if sent += n; n == 0 && err != syscall.EAGAIN || n > 0 && err != nil {
			t.Fatalf("written %d, %v to a peer that takes nothing", n, err)
		}
		full = n == 0
	}
	if n, err := io.ReadFull(far, make([]byte, sent)); err != nil {
		t.Errorf("the peer received %d of %d bytes: %v", n, sent, err)
	}
	if n, err := s.Write([]byte("more")); n != 4 || err != nil {
		t.Errorf("written %d, %v", n, err)
	}
	if n, err := io.ReadFull(far, p[:4]); err != nil || string(p[:4]) != "more" {
		t.Errorf("the peer received %q, %v", p[:n], err)
	}
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	if _, err := untilRead(s, (*Shared).ReadAlone); err == nil {
		t.Error("no error of a connection that was reset")
	}
	if n, err := s.Write(p); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("written %d, %v to a peer that has gone", n, err)
	}
	if n, err := s.TryWrite(p); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("tried to write %d, %v to a peer that has gone", n, err)
	}
	wantUses(t, s)
}

// A copy is the same connection. What has no descriptor is not shared.
func TestACopyOfASharedIsTheSameConnection(t *testing.T) {
	s, far := sharedPair(t)
	c, err := s.Copy()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the peer received %d, %v", n, err)
	}
	wantUses(t, s)
	if s, err := NewShared(noDescriptor{}, time.Millisecond); s != nil || err == nil {
		t.Errorf("of a connection without a descriptor: %v, %v", s, err)
	}
}

// noDescriptor is a connection within the process.
type noDescriptor struct{ net.Conn }

func (noDescriptor) Close() error { return nil }
