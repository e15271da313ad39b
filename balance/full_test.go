package balance

import (
	"math"
	"testing"
	"time"
)

// When a server that says again and again that it has no room is surely full: after four in a row, if the pool has served meanwhile
// nothing for some time, or the others so much that chance does not explain that it alone refuses.
func TestWhenAServerIsSurelyFull(t *testing.T) {
	const long = 10 * time.Second
	for _, c := range []struct {
		name   string
		inRow  uint8
		since  time.Duration // the first of them
		good   time.Duration // ago, of the pool; negative: never
		served uint64        // by the others since the first
		wrong  uint64        // refused by the others since then
		rival  time.Duration // the longest row that was ended by a served request
		want   bool
	}{
		{"three in a row", surelyFull - 1, long, -1, 0, 0, 0, false},
		{"nothing is served for some time", surelyFull, long, -1, 0, 0, 0, true},
		{"not yet for some time", surelyFull, untoldFull, -1, 0, 0, 0, false},
		{"something was served lately", surelyFull, long, time.Second / 2, 1, 0, 0, false},
		{"rows as long have ended well", surelyFull, long, -1, 0, 0, long/3 + 1, false},
		{"the others serve", surelyFull, long, 0, 2 * surelyGood, 0, 0, true},
		{"the others serve little", surelyFull, long, 0, 2*surelyGood - 1, 0, 0, false},
		{"the others refuse as often", surelyFull, long, 0, 2 * surelyGood, 2 * surelyGood, 0, false},
		{"the others serve, and it has just begun", surelyFull, untoldFull, 0, 2 * surelyGood, 0, 0, false},
		{"the others refuse as often, and it for long", 30, long, 0, 1000, 1000, 0, true},
	} {
		w := newWard(t, Config{}, "a", "b", "c")
		f := &fullness{inRow: c.inRow, first: w.now.Add(-c.since), refuted: c.rival}
		if c.good >= 0 {
			w.p.goodAt = w.now.Add(-c.good)
		}
		w.p.good, w.p.fulls, f.own = c.served, c.wrong+uint64(c.inRow), uint64(c.inRow)
		if got := w.p.isSurelyFull(w.now, f); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
	w := newWard(t, Config{}, "a")
	w.p.goodAt = w.now
	if w.p.isSurelyFull(w.now, &fullness{inRow: 200, first: w.now - 60*sec}) {
		t.Error("a lone server that serves is surely full")
	}
}

// Until a server is tried again requests may be told at once that it is no use to wait.
func TestWhenAServerIsClosed(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      hold
		isHeld bool
		f      fullness
		leases int32
		want   bool
	}{
		{"not held", hold{}, false, fullness{inRow: 9}, 0, false},
		{"held for another reason", hold{why: heldForFailing, until: 170 * sec}, true, fullness{inRow: 9}, 0, false},
		{"said so twice", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 2}, 0, true},
		{"is tried in a moment", hold{why: heldForFull, until: Instant(160 * sec).Add(gathering)}, true, fullness{inRow: 2}, 0, false},
		{"said so once, for longer than the request waits", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 1, told: 166 * sec}, 0, true},
		{"said so once, for a moment", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 1, told: 165 * sec}, 0, false},
		{"its row has ended", hold{why: heldForFull, until: 170 * sec}, true, fullness{told: 166 * sec}, 0, false},
		{"it has work, and none was served for long", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 2, first: 150 * sec}, 1, true},
		{"it has work, and that may end soon", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 2, first: 159 * sec}, 1, false},
		{"it has work, and said so once", hold{why: heldForFull, until: 170 * sec}, true, fullness{inRow: 1, first: 150 * sec, told: 166 * sec}, 1, false},
	} {
		w := newWard(t, Config{QueueSize: 10}, "a")
		s := w.p.byID["a"]
		s.isHeld, s.held, s.full, s.leases = c.isHeld, c.h, &c.f, c.leases
		if got := w.p.isClosed(w.now, s, 165*sec); got != c.want { // it is 160 s
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// Refusals that are not believed count as requests for as long as one takes, and no more of them than make the server as busy as others.
func TestRefusalsCountAsRequests(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	s := w.p.byID["a"]
	s.full = new(fullness)
	w.p.ledger.open = 6 // three at each
	for n, want := range []float64{1, 2, 3, 4, 4, 4} {
		if w.p.countRefused(w.now, s); s.Load(w.now) != want {
			t.Errorf("after %d refusals it counts as having %v requests, want %v", n+1, s.Load(w.now), want)
		}
	}
	typical := w.p.typical()
	if got := s.Load(w.now.Add(typical)); math.Abs(got-2) > 1e-6 {
		t.Errorf("the time of a request later it counts as having %v, want half of 4", got)
	}
	if s.isLimited() || !s.isHeld || s.held.until != w.now.Add(countedFor*typical) {
		t.Errorf("it is limited %t, and counted until %v", s.isLimited(), s.held.until)
	}
	w.now = s.held.until
	if w.p.wake(w.now); s.isHeld || s.Load(w.now) != 0 {
		t.Errorf("when that is over it counts as having %v requests", s.Load(w.now))
	}
	w.p.restrain(w.now, s, heldForFailing, 3, time.Second)
	if w.p.countRefused(w.now, s); s.held.why != heldForFailing {
		t.Error("a refusal has ended a hold")
	}
}

// Refusals of requests that were under way together count once in a row, and all of them as refusals.
func TestRefusalsInARow(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	s := w.p.byID["a"]
	w.p.good, w.p.fulls = 7, 3
	start := w.now
	refuse := func(started Instant, told time.Duration) {
		w.p.refuses(w.now, s, &lease{started: started, crowd: 4}, told)
	}
	refuse(start-5, time.Second)
	if f := s.full; f.inRow != 1 || f.first != w.now || f.good != 7 || f.others != 3 || f.told != w.now.Add(time.Second) || f.crowd != 4 {
		t.Errorf("after the first %+v", *f)
	}
	w.now += 10
	refuse(start-4, time.Second)
	refuse(start, time.Second)
	if f := s.full; f.inRow != 1 || f.own != 3 || w.p.fulls != 6 || f.first != start {
		t.Errorf("after three that were under way together %+v, want one in a row", *f)
	}
	last := w.now
	w.now += 10
	if refuse(last+1, 2*time.Second); s.full.inRow != 2 || s.full.told != w.now.Add(2*time.Second) {
		t.Errorf("after another, sent since: %+v, want two in a row", *s.full)
	}
	w.p.serves(w.now, s, &lease{started: start, crowd: 1})
	if s.full.inRow != 2 {
		t.Error("a request sent before the first refusal has ended the row")
	}
	w.now += sec
	w.p.serves(w.now, s, &lease{started: start + 1, crowd: 1})
	if s.full.inRow != 0 || s.full.refuted != w.now.Sub(start) {
		t.Errorf("a request sent after the first and served: %d in a row, refuted %v; want none, and %v", s.full.inRow, s.full.refuted, w.now.Sub(start))
	}
	w.now += Instant(2 * crowdMemory)
	if w.p.refuses(w.now, s, &lease{started: w.now - 1, crowd: 9}, 0); s.full.crowd != 9 {
		t.Errorf("long after, the mean of requests at refusals is %v, want that of the new one alone", s.full.crowd)
	}
	if w.p.refuses(w.now, s, &lease{started: w.now, crowd: 4}, 0); s.full.crowd != 8 {
		t.Errorf("and then %v, want a fifth of the way from 9 to 4", s.full.crowd)
	}
}

// The number at which a server serves is nearly the most of late: it rises by half of the way, and falls by a tenth.
func TestHowManyAServerServesAt(t *testing.T) {
	w := newWard(t, Config{}, "a")
	s := w.p.byID["a"]
	if s.hasServed() {
		t.Error("it has served before any request")
	}
	for _, step := range []struct{ crowd, want float32 }{{4, 4}, {8, 6}, {8, 7}, {2, 6.5}, {6.5, 6.5}} {
		if w.p.serves(w.now, s, &lease{crowd: step.crowd}); math.Abs(float64(s.okCrowd-step.want)) > 1e-5 {
			t.Errorf("after one beside %v it serves at %v, want %v", step.crowd-1, s.okCrowd, step.want)
		}
	}
	for crowd, want := range map[float32]bool{6.5: false, 7: false, 7.1: true} {
		if s.isCrowded(crowd) != want {
			t.Errorf("%v are more than it serves at, 6.5: %t, want %t", crowd, !want, want)
		}
	}
}
