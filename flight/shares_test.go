package flight

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// twoSpeeds returns a snapshot for 16 edges of two fast and two slow servers of four slots, of which so many are used at each.
func twoSpeeds(load float64) *balance.Snapshot {
	snap := &balance.Snapshot{Edges: 16}
	for i, service := range []float64{.1, .1, .4, .4} {
		snap.Servers = append(snap.Servers, balance.SnapshotServer{ID: balance.ServerID('a' + rune(i)), Slots: 4, Service: service, Load: load})
	}
	return snap
}

// What requests do not need of fast servers slow ones get, so that one more request costs the same at all that get some.
func TestSharesFollowTheLoad(t *testing.T) {
	for _, c := range []struct {
		load     float64
		slowGets bool
	}{{0, false}, {1, false}, {2, true}, {2.8, true}} {
		snap := twoSpeeds(c.load)
		var s shares
		if !s.update(snap) {
			t.Fatalf("no shares at a load of %v", c.load)
		}
		total := 0.
		for _, rate := range s.rate {
			total += rate
		}
		wanted := 100 * c.load / 4
		if math.Abs(total-wanted) > .01*max(1, wanted) {
			t.Errorf("load %v: rates %v make %v in all, want %v", c.load, s.rate, total, wanted)
		}
		if s.rate[0] != s.rate[1] || s.rate[2] != s.rate[3] || s.rate[2] > s.rate[0] || s.rate[2] > 0 != c.slowGets {
			t.Errorf("load %v: rates %v; want equal servers to have equal ones, and slow ones to get some: %v", c.load, s.rate, c.slowGets)
		}
		if cost := func(i int) float64 { // of one more
			idle := 1 - s.rate[i]*snap.Servers[i].Service/4
			return snap.Servers[i].Service * (1 + (1/(idle*idle)-1)/(shareWeight*4))
		}; c.slowGets && math.Abs(cost(0)/cost(2)-1) > .01 {
			t.Errorf("load %v: one more costs %v at a fast server and %v at a slow one", c.load, cost(0), cost(2))
		}
	}
}

// The load is averaged over snapshots, and each is taken once.
func TestSharesAverageTheLoad(t *testing.T) {
	var s shares
	s.update(twoSpeeds(1))
	next := twoSpeeds(3)
	for range 3 {
		s.update(next)
	}
	if want := .25 + shareGain*.5; math.Abs(s.busy-want) > 1e-9 {
		t.Errorf("busy is %v, want %v", s.busy, want)
	}
}

// In a pool that is nearly full there are no shares, and there are again when it is less so. What was averaged meanwhile counts.
func TestSharesEndWhereThePoolIsBusy(t *testing.T) {
	var s shares
	for _, c := range []struct {
		load, busy float64
		want       bool
	}{{2.8, .7, true}, {2.84, .703, false}, {40, .7921, false}, {2, .70447, false}, {2, .643129, true}} {
		if got := s.update(twoSpeeds(c.load)); got != c.want || math.Abs(s.busy-c.busy) > 1e-9 || len(s.rate) > 0 != c.want {
			t.Errorf("load %v: shares %t, %v, busy %v; want shares %t, busy %v", c.load, got, s.rate, s.busy, c.want, c.busy)
		}
		if again := s.update(s.of); again != c.want {
			t.Errorf("load %v, the same snapshot again: shares %t, want %t", c.load, again, c.want)
		}
	}
	snap, rng := twoSpeeds(4), rand.New(rand.NewPCG(1, 1))
	var turns Turns
	slow := 0
	for range 100 {
		if turns.LeastByShare(snap, nil, func(balance.ServerID) int { return 0 }, rng).Service == .4 {
			slow++
		}
	}
	if slow < 15 || slow > 25 {
		t.Errorf("in a full pool %d of 100 requests went to slow servers, want 20, as their capacity says", slow)
	}
}

func TestWhoGetsNoShare(t *testing.T) {
	snap := twoSpeeds(2)
	snap.Servers[0].State, snap.Servers[1].Kind = balance.Ejected, balance.IsBackup
	var s shares
	if !s.update(snap) || s.rate[0] != 0 || s.rate[1] != 0 || s.rate[2] == 0 {
		t.Errorf("rates %v; want none for an ejected server and a backup", s.rate)
	}
	for i := range snap.Servers {
		snap.Servers[i].State = balance.Draining
	}
	if next := *snap; s.update(&next) {
		t.Error("there are shares though no server is up")
	}
	many := &balance.Snapshot{Servers: make([]balance.SnapshotServer, shareMost+1)}
	for i := range many.Servers {
		many.Servers[i] = balance.SnapshotServer{Slots: 1, Service: 1}
	}
	if s.update(many) {
		t.Error("there are shares for more servers than there may be")
	}
}

// An edge that chooses for itself goes by shares, and by capacity while no master answers: what servers have then is not known.
func TestLocalChoiceGoesByShares(t *testing.T) {
	snap, none, rng := twoSpeeds(1), func(balance.ServerID) int { return 0 }, rand.New(rand.NewPCG(1, 1))
	var turns Turns
	got := make(map[balance.ServerID]int)
	for range 100 {
		got[turns.LeastByShare(snap, nil, none, rng).ID]++
	}
	if got["a"] < 49 || got["b"] < 49 {
		t.Errorf("at a quarter of the load requests went to %v, want them at the two fast servers alone", got)
	}
	if s := turns.LeastByShare(snap, []balance.ServerID{"a", "b"}, none, rng); s == nil || s.ID != "c" && s.ID != "d" {
		t.Errorf("without the fast servers it is %v, want a slow one", s)
	}
	slow := 0
	for range 100 {
		if s, _ := Fallback(snap, nil, none, &turns, rng); s.Service == .4 {
			slow++
		}
	}
	if slow < 15 || slow > 25 {
		t.Errorf("without a master %d of 100 requests went to slow servers, want 20, as their capacity says", slow)
	}
	snap.Edges = 4
	got = make(map[balance.ServerID]int)
	for range 100 {
		s := turns.LeastByShare(snap, nil, func(id balance.ServerID) int { return got[id] }, rng)
		got[s.ID]++
	}
	if got["c"] == 0 {
		t.Errorf("with few edges requests went to %v, want them by the edge's own count", got)
	}
}
