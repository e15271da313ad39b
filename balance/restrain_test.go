package balance

import (
	"testing"
	"time"
)

// Several answers that were under way together say the same: the stricter limit and the longer time hold. What comes when the time is
// over, or for another reason, begins anew.
func TestHoldsThatComeTogether(t *testing.T) {
	type ask struct {
		after  time.Duration
		why    holdReason
		most   int32
		length time.Duration
	}
	for _, c := range []struct {
		name        string
		first, then ask
		most        int32
		until       time.Duration // after the first
		since       time.Duration // after the first: from when it is told to be held
	}{
		{"fewer and longer", ask{0, heldForFull, 5, time.Second}, ask{100, heldForFull, 3, 2 * time.Second}, 3, 100 + 2*time.Second, 0},
		{"more and shorter", ask{0, heldForFull, 3, 2 * time.Second}, ask{100, heldForFull, 5, time.Second}, 3, 2 * time.Second, 0},
		{"when the time is over", ask{0, heldForFull, 3, time.Second}, ask{time.Second, heldForFull, 5, time.Millisecond}, 5, time.Second + time.Millisecond, 0},
		{"for another reason", ask{0, heldForFull, 3, time.Minute}, ask{100, heldForFailing, 5, time.Second}, 5, 100 + time.Second, 100},
		{"less than none", ask{0, heldForFull, 3, time.Second}, ask{100, heldForFailing, -1, time.Second}, 0, 100 + time.Second, 100},
	} {
		w := newWard(t, Config{}, "a")
		s, at := w.p.byID["a"], w.now
		for _, a := range []ask{c.first, c.then} {
			w.p.restrain(at.Add(a.after), s, a.why, a.most, a.length)
		}
		if s.held.most != c.most || s.held.until.Sub(at) != c.until || s.held.since.Sub(at) != c.then.after || s.since.held.Sub(at) != c.since {
			t.Errorf("%s: %d leases until %v, said last at %v and first at %v; want %d until %v, at %v and %v", c.name, s.held.most, s.held.until.Sub(at), s.held.since.Sub(at),
				s.since.held.Sub(at), c.most, c.until, c.then.after, c.since)
		}
		if !s.isHeld || w.p.returns > s.held.until || !s.waking {
			t.Errorf("%s: held %t, and looked after at %v, want by %v", c.name, s.isHeld, w.p.returns, s.held.until)
		}
		w.p.release(at.Add(time.Second), s)
		if s.isHeld {
			t.Errorf("%s: held after its release", c.name)
		}
	}
}

// What a held server may have, by why and for how long it is held.
func TestRoomOfAHeldServer(t *testing.T) {
	const now = 200 * sec
	for _, c := range []struct {
		name   string
		h      hold
		leases int32
		want   bool
	}{
		{"full, with fewer", hold{why: heldForFull, most: 3, until: now + 1}, 2, true},
		{"full, with as many", hold{why: heldForFull, most: 3, until: now + 1}, 3, false},
		{"full, and its time is over: one more", hold{why: heldForFull, most: 3, until: now}, 3, true},
		{"full, and one more is there", hold{why: heldForFull, most: 3, until: now}, 4, false},
		{"failing, with as many", hold{why: heldForFailing, most: 3, until: now + 1}, 3, false},
		{"failing, and its time is over", hold{why: heldForFailing, most: 3, until: now}, 40, true},
		{"only counted", hold{why: onlyCounted, until: now + 1}, 40, true},
		{"silent, not tried yet", hold{why: heldForSilence, since: now, until: now}, 40, true},
		{"silent, and tried", hold{why: heldForSilence, since: now - 1, until: now + 1}, 0, false},
		{"silent, and tried long ago", hold{why: heldForSilence, since: now - 2, until: now - 1}, 0, false},
	} {
		s := &Server{isHeld: true, leases: c.leases, details: &details{held: c.h}}
		if got := s.holdRoom(now); got != c.want {
			t.Errorf("%s: room %t, want %t", c.name, got, c.want)
		}
	}
}

// What an answer as it should be says of a hold: an old one nothing, one within the hold nothing, one beyond it ends the hold,
// or has twice as many be tried while the server has as many as it may.
func TestWhatAServedRequestSaysOfAHold(t *testing.T) {
	const now = 200 * sec
	for _, c := range []struct {
		name   string
		h      hold
		leases int32
		l      lease
		held   bool
		most   int32
	}{
		{"given before the server was full", hold{why: heldForFull, most: 3, since: now - 10, until: now - 5}, 3, lease{started: now - 10, crowd: 4}, true, 3},
		{"as the hold allows", hold{why: heldForFull, most: 3, since: now - 10, until: now + 5}, 3, lease{started: now - 9, crowd: 3}, true, 3},
		{"one more than the hold allows", hold{why: heldForFull, most: 3, since: now - 10, until: now + 5}, 3, lease{started: now - 9, crowd: 4}, false, 3},
		{"after its time, and it is filled", hold{why: heldForFull, most: 3, since: now - 10, until: now}, 4, lease{started: now - 9, crowd: 4}, true, 7},
		{"after its time, and it is not", hold{why: heldForFull, most: 3, since: now - 10, until: now}, 3, lease{started: now - 9, crowd: 3}, false, 3},
		{"failing, after its time", hold{why: heldForFailing, most: 3, since: now - 10, until: now}, 40, lease{started: now - 9, crowd: 4}, false, 3},
		{"silent", hold{why: heldForSilence, most: 3, since: now - 10, until: now}, 1, lease{started: now - 9, crowd: 1}, true, 3},
		{"only counted", hold{why: onlyCounted, since: now - 10, until: now}, 1, lease{started: now - 9, crowd: 1}, true, 0},
	} {
		w := newWard(t, Config{}, "a")
		s := w.p.byID["a"]
		s.isHeld, s.held, s.leases, s.full = true, c.h, c.leases, new(fullness)
		w.p.served(now, s, &c.l)
		if s.isHeld != c.held || s.held.most != c.most {
			t.Errorf("%s: held %t to %d, want %t to %d", c.name, s.isHeld, s.held.most, c.held, c.most)
		}
	}
}

func TestHowLongARequestTakesAsFarAsIsKnown(t *testing.T) {
	w := newWard(t, Config{}, "a")
	if got := w.p.typical(); got != 10*leastTypical {
		t.Errorf("before anything is learnt %v, want %v", got, 10*leastTypical)
	}
	for took, want := range map[time.Duration]time.Duration{time.Millisecond: leastTypical, time.Second: 3 * time.Second} {
		w.p.takes(took, time.Microsecond)
		w.p.times.spread = 3
		if got := w.p.typical(); got != want {
			t.Errorf("usually %v and 3 times that on average: %v, want %v", took, got, want)
		}
	}
}
