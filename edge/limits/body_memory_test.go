package limits

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// loopOf counts how often it was told that memory is free, on whatever goroutine.
type loopOf struct{ told atomic.Int64 }

func (l *loopOf) MemoryFreed() { l.told.Add(1) }

func (l *loopOf) freed() int { return int(l.told.Load()) }

// Who finds no memory is told once when some is returned, and only then.
func TestWhoWaitsForMemoryIsToldOnce(t *testing.T) {
	const a, b = balance.ClientPrefix(1), balance.ClientPrefix(2)
	m := NewBodyMemory(800)
	first, second := new(loopOf), new(loopOf)
	if !m.Take(a, 100, first) || m.Used() != 100 {
		t.Fatalf("the first 100 bytes of 800 are not to be had: %d are taken", m.Used())
	}
	if m.Await(first, 700) {
		t.Error("700 bytes that are left are waited for")
	}
	if !m.Await(second, 701) {
		t.Error("a byte more than is left is not waited for")
	}
	if m.Take(b, 701, nil) || m.Take(b, 701, first) || m.Used() != 100 {
		t.Errorf("more than there is was taken: %d bytes", m.Used())
	}
	if first.freed() != 0 || second.freed() != 0 {
		t.Error("memory is told to be free that is not")
	}
	m.Give(a, 60)
	if first.freed() != 1 || second.freed() != 1 || m.Used() != 40 {
		t.Errorf("60 bytes were returned: told %d and %d times, %d are taken; want once each, and 40", first.freed(), second.freed(), m.Used())
	}
	if m.Give(a, 40); first.freed() != 1 || second.freed() != 1 || m.Used() != 0 {
		t.Errorf("more were returned: told %d and %d times; want that each waits once", first.freed(), second.freed())
	}
}

// A body in progress gets the rest that it needs from what is kept for such, waits for it if it may have it later, and is told if it
// never can.
func TestTheRestOfABody(t *testing.T) {
	const a, b = balance.ClientPrefix(1), balance.ClientPrefix(2)
	m, w := NewBodyMemory(800), new(loopOf)
	for c := range 7 { // all that is not kept for rests
		if !m.Take(balance.ClientPrefix(10+c), 100, nil) {
			t.Fatalf("client %d gets none of its 100 bytes", c)
		}
	}
	if taken, ever := m.TakeRest(a, 60, w); !taken || !ever || m.Used() != 760 {
		t.Errorf("60 bytes of the rest: taken %t, ever %t, %d in all", taken, ever, m.Used())
	}
	if taken, ever := m.TakeRest(b, 60, w); taken || !ever || w.freed() != 0 {
		t.Errorf("60 more: taken %t, ever %t; want later", taken, ever)
	}
	if taken, ever := m.TakeRest(b, 101, new(loopOf)); taken || ever {
		t.Errorf("more than is ever kept: taken %t, ever %t; want never", taken, ever)
	}
	if m.EndRest(a, 60, 60); w.freed() != 1 || m.Used() != 700 {
		t.Errorf("a body has ended that needed none of its rest: told %d times, %d bytes are taken; want once, and 700", w.freed(), m.Used())
	}
	if taken, _ := m.TakeRest(a, 50, w); !taken {
		t.Error("a client whose body has ended has no rest for the next")
	}
	if taken, _ := m.TakeRest(a, 50, w); taken {
		t.Error("a client got more of the rest than half, while its first body goes on")
	}
	if m.EndRest(a, 50, 0); m.Used() != 750 {
		t.Errorf("a body has ended that needs all of its rest: %d bytes are taken, want 750", m.Used())
	}
}

func TestWhenMemoryIsScarce(t *testing.T) {
	const a, b = balance.ClientPrefix(1), balance.ClientPrefix(2)
	m := NewBodyMemory(800)
	for _, c := range []struct {
		n    int64
		want bool
	}{{400, false}, {200, false}, {1, true}} {
		client := a
		if c.n == 200 {
			client = b
		}
		if c.n == 1 {
			client = balance.ClientPrefix(3)
		}
		if !m.Take(client, c.n, nil) {
			t.Fatalf("%d bytes are not to be had", c.n)
		}
		if m.Scarce() != c.want {
			t.Errorf("with %d of 800 bytes memory is scarce: %t, want %t", m.Used(), m.Scarce(), c.want)
		}
	}
}

// Loops share a memory: what they take at once adds up, and so do stalls.
func TestLoopsShareAMemory(t *testing.T) {
	m := NewBodyMemory(1 << 30)
	var loops sync.WaitGroup
	for i := range 4 {
		loops.Go(func() {
			c, w := balance.ClientPrefix(i+1), new(loopOf)
			for range 1000 {
				m.Take(c, 7, w)
				if taken, _ := m.TakeRest(c, 3, w); taken {
					m.EndRest(c, 3, 1)
					m.Give(c, 2)
				}
				m.Await(w, 1<<31)
				if m.Stall(c) {
					m.Unstall(c)
				}
				m.Scarce()
				m.Give(c, 7)
			}
		})
	}
	loops.Wait()
	if m.Used() != 0 {
		t.Errorf("%d bytes are taken when all are returned", m.Used())
	}
	n := 0
	for m.Stall(1) {
		if n++; n > 1<<20 {
			t.Fatal("any number of requests may stall")
		}
	}
	if m.Unstall(1); !m.Stall(1) || m.Stall(1) {
		t.Errorf("with %d stalled one that ends makes room for one", n)
	}
}
