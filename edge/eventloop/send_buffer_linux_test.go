//go:build !evenkeel_portable

package eventloop

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// long is text in which each place is told from its neighbours.
var long = func() string {
	var all []byte
	for i := 0; len(all) < 1<<17; i++ {
		all = append(strconv.AppendInt(all, int64(i), 36), ',')
	}
	return string(all)
}()

// text returns n bytes of it.
func text(n int) string { return long[:n] }

// hears reads no more than most bytes at the peer.
func (s *sayer) hears(most int) string {
	p := make([]byte, most)
	n, _ := s.peer.Read(p)
	return string(p[:max(0, n)])
}

// Whatever is written, kept, moved through a pipe and taken in whatever order arrives once and in its order.
func TestWhatIsBufferedArrivesInOrder(t *testing.T) {
	spliced, kept := 0, 0
	for seed := range uint64(12) {
		t.Run("", func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			l := idleLoop(t, Config{ReadSize: 64 << 10, AlwaysBatch: seed%2 == 0})
			to, _ := pairIn(t, l)
			from, _ := pairIn(t, l)
			to.turn()
			var s SendBuffer
			sent, heard := "", ""
			flush := func() bool {
				clear, err := s.Flush(&to.Conn)
				if err != nil {
					t.Fatal(err)
				}
				if clear != (s.PendingBytes() == 0 && s.Empty(&to.Conn)) && to.unsentTail == nil {
					t.Fatalf("clear %v with %d bytes pending", clear, s.PendingBytes())
				}
				return clear
			}
			for range 200 {
				switch rng.IntN(6) {
				case 0, 1:
					if s.piped > 0 {
						continue
					}
					p := text(1 + rng.IntN(60_000))
					before := s.PendingBytes()
					n, err := s.Write(&to.Conn, []byte(p))
					if err != nil || s.PendingBytes() != before+int64(len(p)-n) {
						t.Fatalf("%d of %d bytes went, and %d are pending: %v", n, len(p), s.PendingBytes(), err)
					}
					if sent += p; n < len(p) {
						kept++
					}
				case 2:
					if !flush() || !s.Empty(&to.Conn) {
						continue
					}
					p := text(1 + rng.IntN(30_000))
					if _, err := from.peer.Write([]byte(p)); err != nil {
						t.Fatal(err)
					}
					from.Readable = true
					limit := int64(1 + rng.IntN(len(p)))
					n, err := s.SpliceFrom(&from.Conn, limit)
					if err != nil || n > limit || n != s.piped || !s.HasPipe() {
						t.Fatalf("moved %d bytes of %d, %v; %d in the pipe", n, limit, err, s.piped)
					}
					sent += p[:n]
					rest := make([]byte, len(p))
					m, _ := from.FD.Receive(rest)
					if p[n:] != string(rest[:max(0, m)]) {
						t.Fatal("a pipe took other bytes than those that it counted")
					}
					spliced++
				case 3:
					flush()
				case 4:
					heard += to.hears(1 + rng.IntN(1<<17))
					to.turn()
				case 5:
					s.Compact()
					pending := s.PendingBytes()
					if s.releaseIfEmpty(l); s.PendingBytes() != pending || pending == 0 && (s.HasPipe() || cap(s.buf) > 0) {
						t.Fatalf("%d bytes pending, %d after the release, with a pipe %v", pending, s.PendingBytes(), s.HasPipe())
					}
				}
			}
			for range 1000 {
				clear := flush()
				to.turn()
				more := to.hears(1 << 17)
				if heard += more; clear && more == "" && s.Empty(&to.Conn) {
					break
				}
			}
			if heard != sent {
				t.Fatalf("%d bytes were heard of %d, or in another order", len(heard), len(sent))
			}
			if to.SentBytes != int64(len(sent)) {
				t.Errorf("%d bytes are counted, and %d were sent", to.SentBytes, len(sent))
			}
			s.Discard(l)
		})
	}
	if spliced == 0 || kept == 0 {
		t.Errorf("%d times through a pipe, %d times kept: both have to happen", spliced, kept)
	}
}

// Bytes that were sent by other means are left out of what is written next.
func TestWhatWasSentAheadIsNotSentAgain(t *testing.T) {
	s, _ := pairIn(t, idleLoop(t, Config{ReadSize: 1 << 10}))
	b := SendBuffer{SentAhead: 7}
	for _, p := range []string{"hello", " world"} {
		if _, err := b.Write(&s.Conn, []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if s.wantHeard("world"[1:], false); b.SentAhead != 0 {
		t.Errorf("%d bytes are ahead still", b.SentAhead)
	}
}

// A peer that is gone is an error of the next write, and of the next flush of what is kept.
func TestWritingToNobodyFails(t *testing.T) {
	s, peer := pairIn(t, idleLoop(t, Config{ReadSize: 1 << 10}))
	peer.Close()
	var b SendBuffer
	if n, err := b.Write(&s.Conn, []byte("hello")); n != 0 || !errors.Is(err, syscall.EPIPE) || !b.Empty(&s.Conn) {
		t.Errorf("%d bytes, %v, empty %v", n, err, b.Empty(&s.Conn))
	}
	s.Writable = false
	if n, err := b.Write(&s.Conn, []byte("hello")); n != 0 || err != nil || b.PendingBytes() != 5 {
		t.Errorf("not writable: %d bytes, %v, %d pending", n, err, b.PendingBytes())
	}
	if clear, err := b.Flush(&s.Conn); clear || err != nil {
		t.Errorf("not writable: %v, %v", clear, err)
	}
	s.Writable = true
	if clear, err := b.Flush(&s.Conn); clear || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writable: %v, %v", clear, err)
	}
	if b.Discard(s.Loop); b.PendingBytes() != 0 || !b.Empty(&s.Conn) {
		t.Errorf("%d bytes are pending after the discard", b.PendingBytes())
	}
}

// What is read for a pipe says when there is nothing, and when the end has come.
func TestSplicingTellsNothingFromTheEnd(t *testing.T) {
	s, peer := pairIn(t, idleLoop(t, Config{ReadSize: 1 << 10}))
	var b SendBuffer
	if n, err := b.SpliceFrom(&s.Conn, 10); n != 0 || err != syscall.EAGAIN || s.Readable {
		t.Errorf("nothing: %d bytes, %v, readable %v", n, err, s.Readable)
	}
	peer.Close()
	if n, err := b.SpliceFrom(&s.Conn, 10); n != 0 || err != io.EOF {
		t.Errorf("the end: %d bytes, %v", n, err)
	}
	if b.ReleasePipe(s.Loop); b.HasPipe() || len(s.Loop.Pipes.free) != 1 {
		t.Errorf("the pipe is not free: %d are", len(s.Loop.Pipes.free))
	}
}

// Pipes that are empty are used again, those that are not are closed.
func TestPipesAreUsedAgain(t *testing.T) {
	var ps PipePool
	first := ps.take()
	if first == nil {
		t.Skip("no pipes")
	}
	ps.put(first, true)
	if again := ps.take(); again != first {
		t.Error("an empty pipe is not used again")
	}
	ps.put(first, false)
	ps.put(nil, true)
	if len(ps.free) != 0 {
		t.Error("a pipe with bytes in it is used again")
	}
	for range maxFreePipes + 1 {
		ps.put(fd.NewPipe(pipeSize), true)
	}
	if len(ps.free) != maxFreePipes {
		t.Errorf("%d pipes are kept", len(ps.free))
	}
	ps.close()

	s, peer := pairIn(t, idleLoop(t, Config{ReadSize: 1 << 10}))
	if _, err := peer.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var b SendBuffer
	if n, err := b.SpliceFrom(&s.Conn, 10); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if b.ReleasePipe(s.Loop); !b.HasPipe() {
		t.Error("a pipe with bytes in it is released")
	}
	if b.Discard(s.Loop); b.HasPipe() || b.PendingBytes() != 0 || len(s.Loop.Pipes.free) != 0 {
		t.Errorf("%d bytes are pending, %d pipes are free", b.PendingBytes(), len(s.Loop.Pipes.free))
	}
}

// The sending side is closed behind what waits; on a closed descriptor it fails.
func TestTheSendingSideIsClosed(t *testing.T) {
	l := idleLoop(t, Config{ReadSize: 1 << 10})
	s, _ := pairIn(t, l)
	var b SendBuffer
	if err := b.CloseWrite(&s.Conn); err != nil {
		t.Error(err)
	}
	s.wantHeard("", true)
	s.Conn.Close()
	if err := b.CloseWrite(&s.Conn); err == nil {
		t.Error("no error of a descriptor that is closed")
	}
	if err := b.CloseWrite(&Conn{via: silent{}}); err != nil {
		t.Errorf("a stream: %v", err)
	}
	l.Owners(func(Owner) { t.Error("a closed connection is registered") })
}

// silent is a Transport without bytes.
type silent struct{}

func (silent) ReadStream([]byte) (int, error) { return 0, syscall.EAGAIN }
func (silent) WriteStream(p []byte) int       { return 0 }
func (silent) CloseStream()                   {}

// A loop without a timer sleeps until something comes.
func TestALoopSleepsUntilItsNextTimer(t *testing.T) {
	l := idleLoop(t, Config{ReadSize: 1 << 10})
	if got := l.pollTimeout(); got != -1 {
		t.Errorf("sleeps for %d ms, want for ever", got)
	}
	var timer Timer
	l.Timers.Set(&timer, l.Now.Add(10*wheelTick))
	if got, most := l.pollTimeout(), int(12*wheelTick.Milliseconds()); got <= 0 || got > most {
		t.Errorf("sleeps for %d ms, want up to %d", got, most)
	}
}
