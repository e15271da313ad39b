//go:build !evenkeel_portable

package fd

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// rung returns a Poller and what makes it tell of an event, which it does until it is read.
func rung(t *testing.T) (p *Poller, ring func(), still func()) {
	t.Helper()
	p = new(Poller)
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	bell, err := NewBell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bell.Close(); p.Close() })
	if err := p.Add(&bell, unix.EPOLLIN, 7, 0); err != nil {
		t.Fatal(err)
	}
	return p, bell.Ring, bell.Silence
}

func TestWaits(t *testing.T) {
	w, ring, still := rung(t)
	events := make([]Event, 4)
	w.Eager = true
	for i := range 5 * manyShort {
		if n := w.Look(events); n != 0 {
			t.Fatalf("Look %d = %d events before there was one", i, n)
		}
		if n := w.Wait(events, 0); n != 0 {
			t.Fatalf("Wait %d = %d events before there was one", i, n)
		}
		go ring()
		for w.Wait(events, -1) == 0 { // a signal
		}
		if n := w.Look(events); n != 1 || events[0].Fd != 7 || events[0].Events != unix.EPOLLIN {
			t.Fatalf("Look %d = %d events, %+v; want the one that is there", i, n, events[:max(n, 0)])
		}
		if n := w.Wait(events, -1); n != 1 {
			t.Fatalf("Wait %d = %d events, want the one that is there", i, n)
		}
		still()
	}
}

// It looks before it sleeps where waits have been short, and no longer once one was not.
func TestWaitLooksWhereWaitsAreShort(t *testing.T) {
	w, ring, still := rung(t)
	events := make([]Event, 1)
	w.Eager = true
	for range manyShort {
		w.woke(short - 1)
	}
	ring()
	if n := w.Wait(events, -1); n != 1 || w.waits != 0 {
		t.Errorf("%d events with %d sleeps, want one without a sleep", n, w.waits)
	}
	still()
	if n := w.Wait(events, 1); n != 0 || w.waits != 1 || w.shorts != 0 {
		t.Errorf("%d events with %d sleeps, %d short waits; want none, a sleep, and no more looking", n, w.waits, w.shorts)
	}
	for range manyShort - 1 {
		w.woke(short - 1)
	}
	w.woke(short)
	w.woke(short - 1)
	if ring(); w.Wait(events, -1) != 1 || w.waits != 2 {
		t.Errorf("%d sleeps, want another, since a wait was long", w.waits)
	}
}

// Who has found that others want the processor sleeps for a while, however short the waits.
func TestWaitDoesNotLookWhereOthersWantTheProcessor(t *testing.T) {
	w, ring, still := rung(t)
	events := make([]Event, 1)
	w.Eager = true
	ring()
	if n := w.gazed(events, clock.Now().Add(-robbed)); n != 1 || w.shy == 0 {
		t.Fatalf("%d events, shy until %d; want the one that is there, and some time of shyness after a look that took so long", n, w.shy)
	}
	w.shorts, w.shy = manyShort, clock.Now().Add(time.Hour)
	if w.Wait(events, -1) != 1 || w.waits != 1 {
		t.Errorf("%d sleeps, want one", w.waits)
	}
	still()
}

func TestWhoIsNotEagerSleeps(t *testing.T) {
	w, ring, _ := rung(t)
	w.shorts = manyShort
	if ring(); w.Wait(make([]Event, 1), -1) != 1 || w.waits != 1 {
		t.Errorf("%d sleeps, want one", w.waits)
	}
}

func TestRests(t *testing.T) {
	var w Poller
	start := balance.Instant(time.Hour)
	rests := func(waits int, each time.Duration) (n int) {
		for i := range waits {
			if w.tires(start.Add(time.Duration(i) * each)) {
				n++
			}
		}
		start = start.Add(time.Duration(waits) * each)
		return n
	}
	for _, c := range []struct {
		name  string
		waits int
		each  time.Duration
		want  int
	}{
		{"many", 10000, turn / 1000, 10},
		{"few", 10 * (fewWaits + 1), turn, 10},
	} {
		w = Poller{rested: start}
		if n := rests(c.waits, c.each); n != c.want && n != c.want-1 {
			t.Errorf("%s: rested %d times, want %d", c.name, n, c.want)
		}
	}
}
