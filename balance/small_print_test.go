package balance

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A server that drains is no hope for those who wait: where all others are full they are told at once.
func TestServersThatDrainAreNotWaitedFor(t *testing.T) {
	w := newWard(t, Config{QueueSize: 10, QueueWait: 10 * time.Second}, "a", "b")
	for range 3 {
		w.now = max(w.now, w.p.byID["a"].held.until)
		w.end("e", "a", 1, fullFor(30*time.Second))
	}
	if err := w.p.Override(w.now, "b", Override{On: true}, w.now); err != nil {
		t.Fatal(err)
	}
	giveUp := w.now.Add(10 * time.Second)
	if refusal := w.p.refuseAll(w.now, &Request{Edge: "e"}, giveUp); refusal == nil || refusal.Reason != Saturated {
		t.Errorf("beside a server that drains: %v, want that the request is told", refusal)
	}
	if err := w.p.Override(w.now, "b", Override{}, w.now); err != nil {
		t.Fatal(err)
	}
	if refusal := w.p.refuseAll(w.now, &Request{Edge: "e"}, giveUp); refusal != nil {
		t.Errorf("beside a server that is not full: %v, want that the request may wait", refusal)
	}
}

func lost(p *Pool, now Instant, id ServerID, why LossKind) (n uint64) {
	l, _ := p.Losses(now, id)
	for _, x := range l.Lost {
		if x.Why == lossWords[why] || why == lostByScore && strings.Contains(x.Why, "took others") {
			n += x.Count
		}
	}
	return n
}

// What a server lost before its state changed is put down to what it was then.
func TestLossesArePutDownToTheirTime(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	w.end("e", "b", 7, fine) // while a is up
	w.end("e", "a", faultsInRow, fault)
	w.wantOut("a")
	w.end("e", "b", 3, fine) // while a is ejected
	if by, out := lost(w.p, w.now, "a", lostByExclusion), lost(w.p, w.now, "a", lostByEjection); by+out == 0 || out > 3 {
		t.Errorf("a lost %d requests that excluded it, and %d as it was ejected; want 3 of the latter at most", by, out)
	}
	w = newWard(t, Config{}, "a", "b")
	w.p.policy = lastOf{}
	for range 7 {
		w.got("e")
	}
	w.p.eject(w.now, w.p.byID["a"], byFaults, firstEject, longestEject)
	for range 3 {
		w.got("e")
	}
	if by, out := lost(w.p, w.now, "a", lostByScore), lost(w.p, w.now, "a", lostByEjection); by != 7 || out != 3 {
		t.Errorf("a lost %d requests as others were taken, and %d as it was ejected; want 7 and 3", by, out)
	}
}

// lastOf takes the last candidate.
type lastOf struct{}

func (lastOf) Choose(_ Instant, _ *Request, c []*Server, _ *rand.Rand) int { return len(c) - 1 }

// Requests for labels are lost once by each server that lacks them.
func TestLossesByLabels(t *testing.T) {
	p, now := roomy(t, 2, 1), Instant(time.Hour)
	for range 3 {
		g, err := p.Pick(now, &Request{Edge: "e", Labels: gpu})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(now, g.Lease, fine)
	}
	if n := lost(p, now, "s1", lostByLabels); n != 3 {
		t.Errorf("of three requests for a label a server without it lost %d", n)
	}
	if n := lost(p, now, "s0", lostByLabels); n != 0 {
		t.Errorf("of three requests for a label a server that carries it lost %d for that", n)
	}
	if l, _ := p.Losses(now, "s0"); l.Won != 3 || l.Placed != 3 {
		t.Errorf("it won %d of %d, want 3 of 3", l.Won, l.Placed)
	}
}

// By how much latencies grow is concluded from all servers together.
func TestGrowthIsThatOfAllServers(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	for _, id := range []ServerID{"a", "b"} {
		w.p.byID[id].knee = &knee{rise: rise{xx: 1e5, xy: .5e5}}
	}
	w.p.times.weight, w.p.times.square = 1000, 250
	w.now += sec
	w.p.maintainRound(w.now)
	w.p.maintainRound(w.now)
	if got := w.p.growth.exponent; math.Abs(got-.5) > .01 {
		t.Errorf("where latencies grow by the root of requests at both servers the exponent is %v", got)
	}
}

// A limit follows what is learnt of how long requests take.
func TestTheLimitFollowsTheWork(t *testing.T) {
	p, s := limits(t, Config{QueueSize: 10}, 8)
	p.takes(100*time.Millisecond, 10*time.Millisecond)
	if p.assess(s); s.limit != 10 {
		t.Errorf("limit %v where a trip is a tenth of the work, want two ahead of 8 slots", s.limit)
	}
}

// An answer of a server that has long been back does not have it warm up anew.
func TestAnAnswerWarmsNoServerAnew(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.end("e", "a", 1, unreachable)
	s := w.p.byID["a"]
	w.now = s.health.ejectedUntil + 30*sec
	before, version := s.warmFrom, w.p.version
	if w.end("e", "a", 1, fine); s.warmFrom != before || w.p.version != version {
		t.Errorf("it warms up from %v on, want from when it was back, %v", s.warmFrom, before)
	}
}

func TestLongWordsAreClipped(t *testing.T) {
	for n, want := range map[int]int{0: 0, 40: 40, 41: 40 + len("…"), 1000: 40 + len("…")} {
		if got := clip(strings.Repeat("x", n)); len(got) != want {
			t.Errorf("%d bytes are clipped to %d, want %d", n, len(got), want)
		}
	}
}

// An edge that reaches a server with room is not stuck, whichever that is.
func TestWhenAnEdgeIsStuck(t *testing.T) {
	p, now := roomy(t, 2, 0), Instant(time.Hour)
	e := p.edge("e")
	b := &beyond{edge: e, servers: map[*Server]*exclusion{p.servers[1]: {until: now + sec}}, until: now + sec}
	p.edges[e].beyond = b
	p.exclusions++
	p.servers[1].unreached++
	for range 2 {
		p.wake(now)
		p.maintainRound(now)
	}
	if p.reach(now, b); p.isStuck(now, b) || len(p.stuckEdges(now, make([]EdgeID, 0, 4))) != 0 {
		t.Error("an edge that reaches a server with room is stuck")
	}
	if _, err := p.Pick(now, &Request{Edge: "e"}); err != nil {
		t.Fatal(err)
	}
	if !p.isStuck(now, b) || p.isStuck(now+sec, b) {
		t.Errorf("an edge that reaches none with room is stuck: %t, and when it reaches all again: %t", p.isStuck(now, b), p.isStuck(now+sec, b))
	}
	if got := p.stuckEdges(now, make([]EdgeID, 0, 4)); len(got) != 1 || got[0] != "e" {
		t.Errorf("stuck are %v, want e", got)
	}
	if got := p.stuckEdges(now, nil); len(got) != 0 {
		t.Errorf("stuck are %v, want as many as there is room for", got)
	}
}

// A half-life ends at its end, and what was counted in it then counts half.
func TestHalfLivesOfTraffic(t *testing.T) {
	var tr traffic
	tr.add(sec, true, time.Millisecond)
	if tr.advance(Instant(sec).Add(trafficHalfLife) - 1); tr.weight != 1 {
		t.Errorf("before a half-life is over a request weighs %v", tr.weight)
	}
	tr.advance(Instant(sec).Add(trafficHalfLife))
	if tr.add(Instant(sec).Add(trafficHalfLife), false, time.Millisecond); tr.weight != 2 || tr.answers != 3 || tr.failures != 1 {
		t.Errorf("after a half-life a request weighs %v, and there are %v with %v failures; want 2, 3 and 1", tr.weight, tr.answers, tr.failures)
	}
	if v := tr.view(Instant(sec).Add(trafficHalfLife)); math.Abs(v.Failures-1./3) > 1e-6 {
		t.Errorf("%v of them failed, want a third", v.Failures)
	}
	for i := range 60 {
		tr.add(Instant(sec).Add(trafficHalfLife*time.Duration(2+i)), false, 0)
	}
	if tr.weight >= heaviest || tr.failures > 1e-6*tr.answers {
		t.Errorf("after sixty half-lives a request weighs %v, and %v of %v failed", tr.weight, tr.failures, tr.answers)
	}
}

// While nothing was placed a request waits the least that any does.
func TestTheWaitBeforeAnythingIsPlaced(t *testing.T) {
	p := New(Config{Name: "p", QueueSize: 1}, firstOf{}, 1)
	if got := p.longestWait(1000 * sec); got != leastWait {
		t.Errorf("%v, want %v", got, leastWait)
	}
	p.placed, p.placedFirst = 1, 999*sec
	if got := p.longestWait(1000 * sec); got != waitServices*time.Second {
		t.Errorf("where the first has been under way for a second %v, want %v", got, waitServices*time.Second)
	}
	if got := p.longestWait(100_000 * sec); got != mostWait {
		t.Errorf("where the first has been under way for a day %v, want %v", got, mostWait)
	}
}

// Only a server that says now that it is full is tried by its next lease.
func TestWhatIsATry(t *testing.T) {
	for _, c := range []struct {
		name   string
		isHeld bool
		why    holdReason
		leases int32
		want   bool
	}{
		{"full, with as many as it may have", true, heldForFull, 3, true}, {"full, with fewer", true, heldForFull, 2, false},
		{"it was full", false, heldForFull, 3, false}, {"it fails", true, heldForFailing, 3, false},
	} {
		s := &Server{isHeld: c.isHeld, leases: c.leases, details: &details{held: hold{why: c.why, most: 3}}}
		if got := s.isTry(); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
