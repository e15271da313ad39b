package balance

import (
	"math"
	"testing"
	"time"
)

// When a server's state changes by itself next: the soonest of what is still to come.
func TestWhenAServerChangesByItself(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	s := w.p.byID["a"]
	if got := s.nextChange(w.now); got != forever {
		t.Errorf("a server that is well and warm changes at %v", got)
	}
	set := []func(at Instant){
		func(at Instant) { s.health.ejectedUntil = at }, func(at Instant) { s.held.until = at }, func(at Instant) { s.warmFrom = at },
		func(at Instant) { w.p.knownFrom = at },
	}
	for i, f := range set {
		f(w.now + Instant(10-i))
		if got := s.nextChange(w.now); got != w.now+Instant(10-i) {
			t.Errorf("with one more that comes sooner: in %d, want %d", got-w.now, 10-i)
		}
	}
	for i, f := range set {
		f(w.now)
		want := w.now + 7
		if i == len(set)-1 {
			want = forever
		}
		if got := s.nextChange(w.now); got != want {
			t.Errorf("with %d that are over: at %v, want %v", i+1, got, want)
		}
	}
}

// Servers whose time has come are looked after at once, and those whose time is still to come stay in the list.
func TestServersAreWokenInTime(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	a, b := w.p.byID["a"], w.p.byID["b"]
	w.p.wake(w.now)
	if w.p.returns != forever || len(w.p.waking) != 0 {
		t.Fatalf("%d servers wait for %v, want none", len(w.p.waking), w.p.returns)
	}
	a.health.ejectedUntil, b.health.ejectedUntil = w.now+10, w.now+20
	w.p.wakeAt(b, w.now+20)
	w.p.wakeAt(a, w.now+10)
	if w.p.wakeAt(a, w.now+30); w.p.returns != w.now+10 || len(w.p.waking) != 2 {
		t.Errorf("%d servers wait for %d, want 2 for the sooner, 10", len(w.p.waking), w.p.returns-w.now)
	}
	if w.p.wake(w.now + 10); w.p.returns != w.now+20 || len(w.p.waking) != 1 || a.waking || !b.waking {
		t.Errorf("when the first is back %d wait for %d, want b alone for 20", len(w.p.waking), w.p.returns-w.now)
	}
	if w.p.wake(w.now + 20); w.p.returns != forever || b.waking {
		t.Error("when both are back one waits still")
	}
}

// What a server is to requests, as it stands.
func TestStandings(t *testing.T) {
	for _, c := range []struct {
		want standing
		with func(p *Pool, s *Server)
	}{
		{isOpen, func(*Pool, *Server) {}},
		{isOut, func(_ *Pool, s *Server) { s.draining = true }},
		{isOut, func(_ *Pool, s *Server) { s.health.ejectedUntil = 200 * sec }},
		{isFull, func(_ *Pool, s *Server) { s.leases = 4 }},
		{isWarming, func(p *Pool, s *Server) { p.warm(s, 100*sec); p.mean, s.leases = 10, 2 }},
		{isFull, func(p *Pool, s *Server) { p.warm(s, 100*sec); p.mean, s.leases = 10, 4 }},
	} {
		p, s := limits(t, Config{QueueSize: 10}, 4)
		c.with(p, s)
		if got := p.standingOf(100*sec, s); got != c.want {
			t.Errorf("standing %d, want %d", got, c.want)
		}
	}
	for _, c := range []struct {
		r         room
		any, none bool
	}{{room{}, false, false}, {room{isOut: 3}, false, false}, {room{isFull: 1}, false, true}, {room{isWarming: 1, isFull: 1}, true, false}, {room{isOpen: 1}, true, false}} {
		if c.r.any() != c.any || c.r.none() != c.none {
			t.Errorf("%v: any %t, none %t; want %t and %t", c.r, c.r.any(), c.r.none(), c.any, c.none)
		}
	}
}

// What a round of all servers tells of the pool.
func TestWhatARoundTells(t *testing.T) {
	w := newWard(t, Config{QueueSize: 10})
	for id, slots := range map[ServerID]float64{"a": 2, "b": 8, "c": 4} {
		if err := w.p.Put(w.now, ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	round := func() {
		w.now += sec
		w.p.maintainRound(w.now)
		w.p.maintainRound(w.now) // what the first half of a round has counted is of the one before
	}
	round()
	if math.Abs(w.p.newcomer.slots-4) > 1e-9 || !w.p.newcomer.firm || !w.p.newcomer.assumed {
		t.Errorf("a newcomer beside servers of 2, 4 and 8 slots is taken to be %+v, want 4 slots", w.p.newcomer)
	}
	if w.p.loose || w.p.crowdedOut || w.p.mean != 0 || w.p.perWaiting != 0 {
		t.Errorf("all have limits and none has a request: loose %t, crowded out %t, mean %v, %v s for each that waits", w.p.loose, w.p.crowdedOut, w.p.mean, w.p.perWaiting)
	}
	w.p.byID["a"].leases, w.p.byID["b"].leases = 2, 4
	w.p.takes(700*time.Millisecond, time.Millisecond)
	w.p.times.sum = math.Log(.7)
	if round(); w.p.mean != 2 || math.Abs(w.p.perWaiting-.05) > 1e-9 {
		t.Errorf("six requests at three servers: mean %v, want 2; each that waits costs %v s, want those of 14 slots for .7 s", w.p.mean, w.p.perWaiting)
	}
	if err := w.p.Put(w.now, ServerSpec{ID: "d", Address: "127.0.0.1:1"}, true); err != nil {
		t.Fatal(err)
	}
	if round(); w.p.loose {
		t.Error("a newcomer that is taken to be as the others lifts their limits")
	}
	for _, id := range []ServerID{"a", "b"} {
		if err := w.p.Put(w.now, ServerSpec{ID: id, Address: "127.0.0.1:1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	round()
	if w.p.newcomer.firm || w.p.newcomer.slots != 1 {
		t.Errorf("a newcomer where half of the slots are known is taken to be %+v, want nothing", w.p.newcomer)
	}
	for _, s := range w.p.servers { // those of which nothing is known are surveyed when something happens to them
		w.p.survey(s)
	}
	if round(); !w.p.loose {
		t.Error("limits hold though some servers have none")
	}
}

// Where others fill nearly all of the pool they do not count against its limits.
func TestAPoolThatOthersFill(t *testing.T) {
	for _, c := range []struct {
		x    float64 // at both servers
		want bool
	}{{0, false}, {3.5, false}, {3.7, true}, {40, true}} {
		w := newWard(t, Config{QueueSize: 10})
		for _, id := range []ServerID{"a", "b"} {
			if err := w.p.Put(w.now, ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: 4}, true); err != nil {
				t.Fatal(err)
			}
			w.p.byID[id].load = external{x: c.x, reported: w.now + sec, interval: time.Hour}
		}
		w.now += sec
		w.p.maintainRound(w.now)
		w.p.maintainRound(w.now)
		if w.p.crowdedOut != c.want {
			t.Errorf("others have %v requests at each server of 4 slots: crowded out %t, want %t", c.x, w.p.crowdedOut, c.want)
		}
	}
}
