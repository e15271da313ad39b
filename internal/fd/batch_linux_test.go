//go:build !evenkeel_portable

package fd

import (
	"bytes"
	"runtime"
	"strings"
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
