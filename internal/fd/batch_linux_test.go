//go:build !evenkeel_portable

package fd

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// each runs a test with a ring, if there is one to be had, and without.
func each(t *testing.T, test func(*testing.T, *Batch)) {
	t.Run("one by one", func(t *testing.T) { test(t, new(Batch)) })
	t.Run("ring", func(t *testing.T) { test(t, ringed(t)) })
}

// ringed returns a Batch with a ring. The test stays on its thread, which ends with it.
func ringed(t testing.TB) *Batch {
	t.Helper()
	runtime.LockOSThread()
	b, err := NewBatch()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(b.Close)
	return b
}

func pair(t testing.TB) (a, b *FD) {
	t.Helper()
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func wantResults(t *testing.T, got []Result, want ...Result) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d results, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("result %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// Each call comes out as it would by itself, and in its order.
func TestResults(t *testing.T) {
	each(t, func(t *testing.T, b *Batch) {
		for round := range 5 * Most { // entries and completions come round again
			near, far := pair(t)
			gone, closed := pair(t)
			_ = unix.Shutdown(closed.number(), unix.SHUT_RDWR)
			p, q, r := make([]byte, 3), make([]byte, 100), make([]byte, 8)
			b.Receive(far, p)
			b.Send(near, []byte("hello"))
			b.Send(near, []byte(" there"))
			b.Receive(far, p)
			b.Receive(far, q)
			b.Send(gone, []byte("x"))
			b.Receive(gone, r)
			b.Receive(new(FD), r)
			wantResults(t, b.Do(), Result{N: 0, Err: syscall.EAGAIN}, Result{N: 5, Err: nil}, Result{N: 6, Err: nil}, Result{N: 3, Err: nil}, Result{N: 8, Err: nil},
				Result{N: 0, Err: syscall.EPIPE}, Result{N: 0, Err: nil}, Result{N: 0, Err: ErrClosed})
			if string(p) != "hel" || string(q[:8]) != "lo there" {
				t.Errorf("round %d: received %q and %q", round, p, q[:8])
			}
			wantResults(t, b.Do())
		}
	})
}

// As many as it takes, and what a socket does not take is told.
func TestFull(t *testing.T) {
	each(t, func(t *testing.T, b *Batch) {
		near, far := pair(t)
		much := bytes.Repeat([]byte("x"), 64<<10)
		sent, full := 0, 0
		for range Most {
			b.Send(near, much)
		}
		for _, r := range b.Do() {
			sent += r.N
			if r.Err == syscall.EAGAIN {
				full++
			}
		}
		if full == 0 || sent == 0 || sent == Most*len(much) {
			t.Fatalf("%d bytes sent, %d calls that found no room", sent, full)
		}
		got, room := 0, make([]byte, len(much))
		for got < sent {
			b.Receive(far, room)
			b.Receive(far, room)
			before := got
			for _, r := range b.Do() {
				got += r.N
			}
			if got == before {
				t.Fatalf("received %d of %d bytes and no more", got, sent)
			}
		}
	})
}

// Calls that the ring does not take are made one by one, and none is made twice.
func TestRingFails(t *testing.T) {
	b := ringed(t)
	own := b.ring.fd.above
	for range 3 {
		near, far := pair(t)
		p := make([]byte, 10)
		say := func() {
			b.Send(near, []byte("one"))
			b.Receive(far, p)
			wantResults(t, b.Do(), Result{N: 3, Err: nil}, Result{N: 3, Err: nil})
		}
		b.ring.fd.above = near.above // which is no ring
		say()
		b.ring.fd.above = own
		say()
	}
}

// What the system does with a batch of which it takes only some calls at a time, or after which it fails: each call comes out once and in
// its order, by the ring or by a plain call.
func TestTheRingTakesSomeCallsOnly(t *testing.T) {
	takes := func(b *Batch, n uint32) syscall.Errno { return b.ring.submit(n, int(n)) }
	for _, c := range []struct {
		name  string
		enter func(b *Batch, time int, entries uint32, left int) syscall.Errno
		ring  int // calls that reach the ring, of six; the others are made one by one
	}{
		{"one at a time", func(b *Batch, _ int, entries uint32, _ int) syscall.Errno { return takes(b, min(entries, 1)) }, 6},
		{"four, and then the others", func(b *Batch, _ int, entries uint32, _ int) syscall.Errno { return takes(b, min(entries, 4)) }, 6},
		{"interrupted each time before any", func(b *Batch, time int, entries uint32, left int) syscall.Errno {
			if time%2 == 0 {
				return syscall.EINTR
			}
			return takes(b, min(entries, 2))
		}, 6},
		{"interrupted after it took all", func(b *Batch, _ int, entries uint32, left int) syscall.Errno {
			_ = b.ring.submit(entries, left)
			return syscall.EINTR
		}, 6},
		{"four, and it fails", func(b *Batch, time int, entries uint32, _ int) syscall.Errno {
			if time > 0 {
				return syscall.EBUSY
			}
			return takes(b, 4)
		}, 4},
		{"four with an error", func(b *Batch, time int, entries uint32, _ int) syscall.Errno {
			_ = takes(b, 4)
			return syscall.EAGAIN
		}, 4},
		{"none, and it fails", func(*Batch, int, uint32, int) syscall.Errno { return syscall.ENOMEM }, 0},
		{"all, and it fails afterwards", func(b *Batch, _ int, entries uint32, left int) syscall.Errno {
			_ = b.ring.submit(entries, left)
			return syscall.EBADF
		}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := ringed(t)
			for range 3 * Most { // entries come round again
				near, far := pair(t)
				times, before := 0, *b.ring.tail
				b.ring.enter = func(entries uint32, left int) syscall.Errno {
					times++
					return c.enter(b, times-1, entries, left)
				}
				p, q, r := make([]byte, 2), make([]byte, 2), make([]byte, 9)
				b.Send(near, []byte("one "))
				b.Receive(far, p)
				b.Send(near, []byte("two "))
				b.Receive(far, q)
				b.Send(near, []byte("three"))
				b.Receive(far, r)
				wantResults(t, b.Do(), Result{N: 4}, Result{N: 2}, Result{N: 4}, Result{N: 2}, Result{N: 5}, Result{N: 9})
				if got := string(p) + string(q) + string(r); got != "one two three" {
					t.Fatalf("received %q", got)
				}
				if b.ring == nil {
					t.Fatal("the ring was given up")
				}
				if took := *b.ring.tail - before; took != uint32(c.ring) {
					t.Fatalf("the ring took %d calls, want %d", took, c.ring)
				}
			}
		})
	}
}

// Calls that the system has taken, and of which it does not say what became of them, are not made again: what they were to send may have
// gone. Later calls do not meet the results of these.
func TestTheRingLosesCalls(t *testing.T) {
	b := ringed(t)
	near, far := pair(t)
	b.ring.enter = func(entries uint32, left int) syscall.Errno {
		atomic.AddUint32(b.ring.head, entries) // taken, as far as the system says
		return syscall.EBADF
	}
	b.Send(near, []byte("one"))
	b.Send(near, []byte("two"))
	b.Receive(new(FD), make([]byte, 1))
	wantResults(t, b.Do(), Result{Err: syscall.EBADF, Maybe: true}, Result{Err: syscall.EBADF, Maybe: true}, Result{Err: ErrClosed})
	if b.ring != nil {
		t.Error("the ring is used on")
	}
	p := make([]byte, 10)
	b.Send(near, []byte("later"))
	b.Receive(far, p)
	wantResults(t, b.Do(), Result{N: 5}, Result{N: 5})
	if string(p[:5]) != "later" {
		t.Errorf("received %q, want what was sent after the loss", p[:5])
	}
}

func TestDoAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, b *Batch) {
		near, far := pair(t)
		p := make([]byte, 10)
		if n := testing.AllocsPerRun(100, func() {
			b.Send(near, p)
			b.Receive(far, p)
			b.Receive(far, p)
			if r := b.Do(); r[1].N != len(p) || r[2].Err != syscall.EAGAIN {
				t.Error(r)
			}
		}); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

// Sixteen sends and as many receives, over pairs of Unix sockets.
func BenchmarkDo(b *testing.B) {
	for _, how := range []string{"one by one", "ring"} {
		b.Run(strings.ReplaceAll(how, " ", "-"), func(b *testing.B) {
			batch := new(Batch)
			if how == "ring" {
				batch = ringed(b)
			}
			near, far := pair(b)
			p := make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				for range Most / 2 {
					batch.Send(near, p)
				}
				for range Most / 2 {
					batch.Receive(far, p)
				}
				for _, r := range batch.Do() {
					if r.N != len(p) {
						b.Fatal(r)
					}
				}
			}
		})
	}
}
