package flight

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func nothing(balance.ServerID) int { return 0 }

func up(id balance.ServerID, slots float64) balance.SnapshotServer {
	return balance.SnapshotServer{ID: id, Slots: slots, Service: 1}
}

func TestFallbackReasons(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name    string
		snap    *balance.Snapshot
		exclude []balance.ServerID
		want    string
	}{
		{"no snapshot", nil, nil, ReasonNoMaster},
		{"dispatch", &balance.Snapshot{Dispatch: true, Servers: []balance.SnapshotServer{up("a", 1)}}, nil, ReasonNoMaster},
		{"empty", &balance.Snapshot{}, nil, "no-server"},
		{"all excluded", &balance.Snapshot{Servers: []balance.SnapshotServer{up("a", 1)}}, []balance.ServerID{"a"}, "no-server"},
		{"all leaving", &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "a", State: balance.Draining}, {ID: "b", State: balance.Gone}}}, nil, "no-server"},
		{"one up", &balance.Snapshot{Servers: []balance.SnapshotServer{up("a", 1)}}, nil, ""},
		{"only an ejected one", &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "a", State: balance.Ejected}}}, nil, ""},
	} {
		if _, got := Fallback(c.snap, c.exclude, nothing, new(Turns), rng); got != c.want {
			t.Errorf("%s: reason %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFallbackSharesByCapacity(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	snap := &balance.Snapshot{Servers: []balance.SnapshotServer{up("small", 1), up("large", 3)}}
	held, turns := make(map[balance.ServerID]int), Turns{}
	for range 400 {
		s, _ := Fallback(snap, nil, func(id balance.ServerID) int { return held[id] }, &turns, rng)
		held[s.ID]++
	}
	if held["large"] < 260 || held["large"] > 340 {
		t.Errorf("the server of three quarters of the capacity holds %d of 400", held["large"])
	}
}

// An idle slow server must wait until the fast one, as the other edges are thought to use it too, would take longer. With many edges, or
// few slots, there is no guess.
func TestFallbackWithOtherEdges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for _, c := range []struct {
		edges, atFast int
		slots         float64 // a server, on average
		want          balance.ServerID
	}{{1, 1, 4, "fast"}, {1, 3, 4, "slow"}, {3, 0, 4, "fast"}, {3, 1, 4, "slow"}, {4, 0, 4, "fast"}, {2, 1, 1, "slow"}, {16, 1, 4, "slow"}, {0, 1, 4, "slow"}} {
		snap := &balance.Snapshot{Edges: c.edges, Servers: []balance.SnapshotServer{up("slow", c.slots/2), up("fast", c.slots*3/2)}}
		held, turns := map[balance.ServerID]int{"fast": c.atFast}, Turns{}
		s, _ := Fallback(snap, nil, func(id balance.ServerID) int { return held[id] }, &turns, rng)
		if s.ID != c.want {
			t.Errorf("%d edges, %d requests of this one at the fast server: chose %s, want %s", c.edges, c.atFast, s.ID, c.want)
		}
	}
}

// Servers that are equally little busy are taken in turn, as often as their capacities say: of any four in a row
// three go to the one of three quarters, however the turns begin.
func TestFallbackTakesTurns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	snap := &balance.Snapshot{Servers: []balance.SnapshotServer{up("small", 1), up("large", 3)}}
	var turns Turns
	var got []balance.ServerID
	for range 400 {
		s, _ := Fallback(snap, nil, nothing, &turns, rng)
		got = append(got, s.ID)
	}
	for i := range got[:len(got)-3] {
		large := 0
		for _, id := range got[i : i+4] {
			if id == "large" {
				large++
			}
		}
		if large != 3 {
			t.Fatalf("of requests %d to %d, %d go to the large server, want 3: %v", i, i+3, large, got[i:i+4])
		}
	}
}

func TestFallbackNeverIneligible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var snap balance.Snapshot
		var exclude []balance.ServerID
		eligible := make(map[balance.ServerID]bool)
		held := make(map[balance.ServerID]int)
		anyUp := false
		for i := range rapid.IntRange(0, 6).Draw(t, "servers") {
			s := balance.SnapshotServer{ID: balance.ServerID(rune('a' + i)), State: balance.State(rapid.IntRange(0, 3).Draw(t, "state")),
				Slots: rapid.Float64Range(-1, 8).Draw(t, "slots"), Service: rapid.Float64Range(-1, 8).Draw(t, "service")}
			snap.Servers = append(snap.Servers, s)
			held[s.ID] = rapid.IntRange(0, 9).Draw(t, "held")
			if rapid.Bool().Draw(t, "excluded") {
				exclude = append(exclude, s.ID)
				continue
			}
			anyUp = anyUp || s.State == balance.Up
			eligible[s.ID] = s.State == balance.Up || s.State == balance.Ejected
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s, reason := Fallback(&snap, exclude, func(id balance.ServerID) int { return held[id] }, new(Turns), rng)
		if reason == "" && (!eligible[s.ID] || anyUp && s.State != balance.Up) {
			t.Fatalf("chose %+v, excluded %v", s, exclude)
		}
	})
}

// Of any number of requests the canary gets its part, and more only if no other server is up; backups get what no ordinary server can take.
func TestFallbackKeepsToKinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]float64{0, .05, 1. / 3, 1}).Draw(t, "part")
		snap := &balance.Snapshot{Canary: part, Servers: []balance.SnapshotServer{up("a", 4), up("b", 4), up("v", 4), up("x", 4)}}
		snap.Servers[2].Kind, snap.Servers[3].Kind = balance.IsCanary, balance.IsBackup
		turns, rng, held := new(Turns), rand.New(rand.NewPCG(1, 1)), map[balance.ServerID]int{}
		choose := func(exclude ...balance.ServerID) balance.ServerID {
			s, _ := Fallback(snap, exclude, func(id balance.ServerID) int { return held[id] }, turns, rng)
			held[s.ID]++
			return s.ID
		}
		n := rapid.IntRange(1, 200).Draw(t, "n")
		for i := range n {
			choose()
			if off := float64(held["v"]) - float64(i+1)*part; off <= -1 || off >= 1 {
				t.Fatalf("of %d requests the canary has %d, its part is %v", i+1, held["v"], part)
			}
		}
		if held["x"] > 0 {
			t.Fatalf("the backup has %d requests while others are up", held["x"])
		}
		snap.Canary = 0
		for want, exclude := range map[balance.ServerID][]balance.ServerID{"x": {"a", "b"}, "v": {"a", "b", "x"}, "b": {"a"}} {
			if got := choose(exclude...); got != want {
				t.Fatalf("without %v a request went to %s, want %s", exclude, got, want)
			}
		}
		held["a"], held["b"] = held["a"]+1, held["b"]+1
		snap.Sharers, snap.Servers[0].Cap, snap.Servers[1].Cap = []balance.EdgeID{"e"}, held["a"], held["b"]
		if got := choose(); got != "x" {
			t.Fatalf("with the others at their caps a request went to %q, want the backup", got)
		}
		if got := choose("x"); got != "" {
			t.Fatalf("with the others at their caps and no backup a request went to %q", got)
		}
	})
}
