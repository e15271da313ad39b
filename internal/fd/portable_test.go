//go:build !linux || evenkeel_portable

package fd

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// ahead is how many bytes have been read and not taken.
func (s *stream) ahead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in) - s.taken
}

// Of a peer that sends without end no more is read than has room, and nothing is lost.
func TestReadingAheadIsBounded(t *testing.T) {
	w := newPeered(t)
	text := make([]byte, 8<<20)
	for i := range text {
		text[i] = byte(i * 7 >> 3)
	}
	go func() {
		_, _ = w.far.Write(text) // what is missing is seen
		_ = w.far.CloseWrite()
	}()
	s := w.near.stream()
	for s.ahead() < aheadMost {
		w.await(Readable)
	}
	var got []byte
	p := make([]byte, 1000)
	for {
		if n := s.ahead(); n >= aheadMost+readMost {
			t.Fatalf("%d bytes are read ahead", n)
		}
		n, err := w.near.Receive(p)
		got = append(got, p[:n]...)
		if err != nil {
			w.await(Readable)
		} else if n == 0 {
			break
		}
	}
	if !bytes.Equal(got, text) {
		t.Errorf("got %d bytes, want the %d that were sent", len(got), len(text))
	}
}

// What is about to be told of a descriptor is not told once that is closed.
func TestWhatIsAboutToBeToldIsNot(t *testing.T) {
	w := newPeered(t)
	w.await(Writable)
	w.says("x")
	s := w.near.stream()
	queued := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.watch.queued
	}
	for limit := time.Now().Add(2 * time.Minute); !queued(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("nothing has come")
		}
	}
	w.near.Close()
	if told := make([]Event, 8); w.poller.Look(told) != 0 {
		t.Errorf("told of %#x of slot %d", told[0].Events, told[0].Slot())
	}
}

// A peer that takes nothing of what is left at Close does not keep the Poller.
func TestCloseOfThePollerIsBounded(t *testing.T) {
	t.Parallel() // it takes lingerMost
	w := newPeered(t)
	piece := make([]byte, 1<<20)
	for w.near.stream().fill(piece) {
		runtime.Gosched()
	}
	w.near.Close()
	w.poller.Close()
}

// fill sends until the writer waits for the peer and there is no room; false: so it is.
func (s *stream) fill(p []byte) bool {
	_, _ = s.send(p) // no room is what is wanted
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing == 0 || len(s.out)+s.writing < sendMost
}

// Close has the mutex, and waits for a read of the connection that has begun: such a read must not wait for the mutex.
func TestReadsDoNotKeepClose(t *testing.T) {
	w := newPeered(t)
	s := w.near.stream()
	meanwhile := func() { // the reader goes on, or the test shows nothing
		for range 10_000 {
			runtime.Gosched()
		}
	}
	w.says("x")
	w.await(Readable)
	meanwhile()
	s.mu.Lock()
	w.says("y")
	meanwhile()
	closed := make(chan struct{})
	go func() {
		s.resets = true
		s.closeConn()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(2 * time.Minute):
		t.Error("Close waits")
	}
	s.mu.Unlock()
}
