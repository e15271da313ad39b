//go:build !evenkeel_portable

package eventloop

import (
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// sayer is a conn of a pair of sockets in a batching loop that the test runs, and its owner.
type sayer struct {
	Conn
	t     *testing.T
	peer  *fd.FD
	woken int
}

func (s *sayer) OnReady() { s.woken++ }

func newSayer(t *testing.T) *sayer {
	t.Helper()
	s, _ := pairIn(t, idleLoop(t, Config{ReadSize: 64 << 10, AlwaysBatch: true}))
	s.turn()
	return s
}

// turn is one iteration of the loop.
func (s *sayer) turn() {
	events := make([]fd.Event, 8)
	l := s.Loop
	l.handleEvents(events[:l.pollEvents(events)])
	l.runDeferred()
	l.flushWrites()
	l.batching = true // for what the test writes next
}

func (s *sayer) says(p string) {
	s.t.Helper()
	if n, err := s.write([]byte(p)); n != len(p) || err != nil {
		s.t.Fatalf("%.20q: %d bytes, %v", p, n, err)
	}
}

// heard returns what has come to the peer; ended: nothing more will.
func (s *sayer) heard() (all string, ended bool) {
	for p := make([]byte, 64<<10); ; {
		n, err := s.peer.Read(p)
		if n <= 0 {
			return all, n == 0 && err == nil
		}
		all += string(p[:n])
	}
}

func (s *sayer) wantHeard(want string, end bool) {
	s.t.Helper()
	if got, ended := s.heard(); got != want || ended != end {
		s.t.Fatalf("heard %q, ended %v; want %q, %v", got, ended, want, end)
	}
}

// What is written in an iteration is sent at its end, in order.
func TestSaidAtTheEndOfTheTurn(t *testing.T) {
	s := newSayer(t)
	s.says("one ")
	s.wantHeard("", false)
	s.says("two ") // which the first may not wait behind
	s.wantHeard("one two ", false)
	s.says("three")
	s.Loop.flushWrites()
	s.wantHeard("three", false)
	s.says("last")
	if err := s.closeWrite(); err != nil {
		t.Fatal(err)
	}
	s.wantHeard("last", true)
}

// At most maxPendingWrites writes are deferred.
func TestSayingsDoNotPileUp(t *testing.T) {
	first := newSayer(t)
	first.says("first")
	for range maxPendingWrites {
		own, peer, err := fd.Pair()
		if err != nil {
			t.Fatal(err)
		}
		e := &Conn{Owner: first}
		if err := first.Loop.Register(e, own, Readiness); err != nil {
			t.Fatal(err)
		}
		e.Writable = true
		if _, err := e.write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			e.Close()
			peer.Close()
		})
	}
	first.wantHeard("first", false)
}

// What the socket does not take at the end of the iteration is sent later, and nothing before it.
func TestSaidToFullSocket(t *testing.T) {
	s := newSayer(t)
	filled := 0
	for room := make([]byte, 1<<10); ; {
		n, err := s.FD.Write(room)
		if err != nil {
			break
		}
		filled += n
	}
	s.says("one ") // as far as the conn knows, there is room
	s.Loop.flushWrites()
	if s.Writable || s.AllSent() || s.UnsentBytes() != 4 {
		t.Fatalf("writable %v, sent %v, %d bytes kept; want 4 kept", s.Writable, s.AllSent(), s.UnsentBytes())
	}
	if s.Loop.runDeferred(); s.woken != 2 || new(SendBuffer).Empty(&s.Conn) {
		t.Fatalf("the owner was called %d times, nothing waits: %v; want it called, as something waits", s.woken, new(SendBuffer).Empty(&s.Conn))
	}
	if n, err := s.write([]byte("two")); n != 0 || err != nil {
		t.Fatalf("%d bytes taken, %v; want none while something is kept", n, err)
	}
	if clear, err := new(SendBuffer).Flush(&s.Conn); clear || err != nil {
		t.Fatalf("clear %v, %v; want false", clear, err)
	}
	if err := s.closeWrite(); err != nil {
		t.Fatal(err)
	}
	if got, ended := s.heard(); len(got) != filled || ended {
		t.Fatalf("heard %d bytes, ended %v; want %d", len(got), ended, filled)
	}
	s.turn() // the socket takes more
	s.wantHeard("one ", true)
	if !s.AllSent() || !s.Writable || s.woken != 3 {
		t.Fatalf("sent %v, writable %v, woken %d times", s.AllSent(), s.Writable, s.woken)
	}
}

// An error at the end of the iteration is reported by the next read or write, and that nothing was sent.
func TestSaidToNobody(t *testing.T) {
	s := newSayer(t)
	s.says("one")
	if !s.MayHaveSent(0) {
		t.Fatal("what goes at the end of the turn is taken for what never goes")
	}
	s.peer.Close()
	s.Loop.flushWrites()
	if s.MayHaveSent(0) || !s.AllSent() {
		t.Fatalf("the peer may have it: %v, sent %v; want that nothing went, and nothing waits", s.MayHaveSent(0), s.AllSent())
	}
	if _, err := s.write([]byte("two")); err != syscall.EPIPE {
		t.Fatalf("write: %v, want %v", err, syscall.EPIPE)
	}
	if _, err := new(SendBuffer).Flush(&s.Conn); err != syscall.EPIPE {
		t.Fatalf("flush: %v, want %v", err, syscall.EPIPE)
	}
	s.unsentTail, s.SentBytes = &unsentTail{bytes: []byte("of more")}, 3
	if s.retryUnsent(); s.unsentTail == nil || !s.MayHaveSent(0) {
		t.Fatalf("%+v kept, the peer may have it: %v; want an error, and that a part had gone before", s.unsentTail, s.MayHaveSent(0))
	}
	before := s.woken
	s.turn()
	if s.woken == before || !s.Readable {
		t.Fatalf("woken %d times more, readable %v", s.woken-before, s.Readable)
	}
}
