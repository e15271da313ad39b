//go:build !evenkeel_portable

package eventloop

import (
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// hearer is a conn of a batching loop that the test runs, whose owner reads into a buffer of a size, or not at
// all.
type hearer struct {
	*sayer
	room int
	got  []string // by read
	err  error    // that ended it
}

func newHearer(t *testing.T, room int) *hearer {
	t.Helper()
	h := &hearer{sayer: newSayer(t), room: 100}
	h.Conn.Owner = h
	h.speak("something brief")
	h.turn()
	h.wantGot("something brief")
	h.room = room
	if h.prefetched != nil {
		t.Fatal("something is left")
	}
	return h
}

// another is one in the same loop, of a descriptor that it closes.
func (h *hearer) another(own, peer *fd.FD) *hearer {
	h.t.Helper()
	a := &hearer{sayer: &sayer{t: h.t, peer: peer}, room: 100}
	a.Conn.Owner = a
	if err := h.Loop.Register(&a.Conn, own, Readiness); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(a.Conn.Close)
	return a
}

func (h *hearer) OnReady() {
	for p := make([]byte, h.room); h.Readable && h.room > 0 && h.err == nil; {
		switch n, err := h.Read(p); {
		case err == syscall.EAGAIN:
		case err != nil:
			h.err = err
		case n == 0:
			h.err = io.EOF
		default:
			h.got = append(h.got, string(p[:n]))
		}
	}
}

// speak has the peer send something.
func (h *hearer) speak(p string) {
	h.t.Helper()
	if n, err := h.peer.Write([]byte(p)); n != len(p) || err != nil {
		h.t.Fatalf("said %d bytes of %d, %v", n, len(p), err)
	}
}

// wantGot holds what was read since the last time against what should have been.
func (h *hearer) wantGot(want string) {
	h.t.Helper()
	if got := strings.Join(h.got, ""); got != want {
		h.t.Fatalf("got %.40q of %d bytes, want %.40q of %d", got, len(got), want, len(want))
	}
	h.got = nil
}

// inKernel returns what has come and was not read from the socket.
func (h *hearer) inKernel() string {
	p := make([]byte, 64<<10)
	n, err := h.FD.Peek(p)
	if err != nil && err != syscall.EAGAIN {
		h.t.Fatal(err)
	}
	return string(p[:max(0, n)])
}

// waits returns the next events, once there are some.
func (h *hearer) waits() []fd.Event {
	events := make([]fd.Event, 8)
	for {
		h.Loop.batching = false // or it would look, and not wait
		if n := h.Loop.pollEvents(events); n > 0 {
			return events[:n]
		}
	}
}

// A read returns the prefetched bytes, in pieces of the size that it asks for.
func TestReadEarly(t *testing.T) {
	for room, want := range map[int][]string{1000: {"hello"}, 5: {"hello"}, 3: {"hel", "lo"}} {
		h := newHearer(t, room)
		h.speak("hello")
		events := h.waits()
		if h.Loop.prefetch(events); h.prefetched == nil || h.inKernel() != "" {
			t.Fatalf("room %d: %q was not read early", room, h.inKernel())
		}
		h.Loop.dispatchEvents(events, false)
		if !slices.Equal(h.got, want) || h.Readable || h.prefetched != nil {
			t.Errorf("room %d: got %q, readable %v; want %q and no more", room, h.got, h.Readable, want)
		}
	}
}

// More may follow what fills the buffer, in the same iteration or the next.
func TestReadEarlyFillsTheRoom(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", shortRead/8)
	for _, whole := range []string{long, long[:shortRead]} {
		h := newHearer(t, 4*shortRead)
		h.speak(whole)
		h.turn()
		h.wantGot(whole)
		if h.prefetched != nil || h.Readable {
			t.Errorf("%d bytes: early %v, readable %v", len(whole), h.prefetched, h.Readable)
		}
		h.speak("more")
		h.turn()
		h.wantGot("more")
	}
}

// After a long message the next one is not prefetched, since it is likely to be long too.
func TestLongIsNotReadEarly(t *testing.T) {
	h := newHearer(t, 64<<10)
	long := strings.Repeat("x", 4*shortRead)
	h.speak(long)
	h.turn()
	h.got = nil
	h.speak(long)
	if h.Loop.prefetch(h.waits()); h.prefetched != nil {
		t.Error("read early")
	}
}

// Prefetched bytes that were not read in their iteration are kept and come before what is in the socket;
// nothing more is prefetched meanwhile.
func TestEarlyIsKept(t *testing.T) {
	h := newHearer(t, 0)
	for _, p := range []string{"one ", "two ", "three"} {
		h.speak(p)
		h.turn()
	}
	if h.inKernel() != "two three" {
		t.Fatalf("%q in the socket, want all but the first", h.inKernel())
	}
	for i := range h.Loop.prefetchBuf {
		h.Loop.prefetchBuf[i] = '!' // it is reused in later iterations
	}
	if h.NothingToRead() {
		t.Error("it is told to be quiet")
	}
	h.room = 100
	h.OnReady()
	h.wantGot("one two three")
	if !h.NothingToRead() || h.prefetched != nil {
		t.Error("something is left")
	}
}

// Spliced bytes follow the prefetched ones.
func TestEarlyGoesThroughThePipe(t *testing.T) {
	h := newHearer(t, 0)
	h.speak("first ")
	h.turn()
	h.speak("second")
	var s SendBuffer
	for want := int64(6); s.piped < 12; want += 6 {
		if n, err := s.SpliceFrom(&h.Conn, 100); n != 6 || err != nil || s.piped != want {
			t.Fatalf("moved %d, %v; %d in the pipe, want %d", n, err, s.piped, want)
		}
	}
	p := make([]byte, 100)
	near, far, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	if n, err := s.pipe.Drain(near, s.piped); n != 12 || err != nil {
		t.Fatalf("%d came out of the pipe, %v; want 12", n, err)
	}
	if n, err := far.Receive(p); err != nil || string(p[:n]) != "first second" {
		t.Fatalf("%q came out of the pipe, %v", p[:n], err)
	}
	if _, err := s.SpliceFrom(&h.Conn, 100); err != syscall.EAGAIN || h.Readable {
		t.Errorf("%v, readable %v; want nothing more", err, h.Readable)
	}
	s.piped = 0
	s.Discard(h.Loop)
}

// A connection that breaks before it is prefetched reports that to the next read, and no orderly end.
func TestReadEarlyFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	own, err := fd.Copy(nc)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close() // the descriptor is a copy
	h := newHearer(t, 0).another(&own, new(fd.FD))
	h.lastReadShort = true
	events := h.waits()
	_ = peer.(*net.TCPConn).SetLinger(0)
	_ = peer.Close()
	for broken := h.waits(); broken[0].Events&fd.Failed == 0; {
		broken = h.waits()
	}
	events[0].Events |= fd.Readable // as if something had come before that
	if h.Loop.prefetch(events); h.prefetched == nil {
		t.Fatal("not read early")
	}
	h.Loop.dispatchEvents(events, false)
	if h.err != syscall.ECONNRESET {
		t.Errorf("got %v, want %v", h.err, syscall.ECONNRESET)
	}
}

// Servers' events are dealt with before those of clients.
func TestServersComeFirst(t *testing.T) {
	h := newHearer(t, 100)
	own, peer, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	s := h.another(own, peer)
	s.IsServer = true
	defer s.peer.Close()
	h.turn()
	h.speak("client")
	s.speak("server")
	h.Loop.dispatchEvents(h.waits(), true)
	h.wantGot("")
	s.wantGot("server")
}
