package policy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// homes returns the server of each key, where none has any load.
func homes(t *testing.T, keys int, all ...given) []balance.ServerID {
	t.Helper()
	rng, seen := rand.New(rand.NewPCG(1, 2)), candidates(t, all...)
	ids := make([]balance.ServerID, keys)
	for k := range ids {
		ids[k] = seen[policy.ConsistentHash{}.Choose(lookedAt, &balance.Request{Key: fmt.Sprint("key ", k)}, seen, rng)].ID()
	}
	return ids
}

func fleet(weights ...float64) (all []given) {
	for i, slots := range weights {
		all = append(all, given{ServerSpec: server(fmt.Sprint("s", i), slots, 0)})
	}
	return all
}

// A key's server is the same whatever chance, the order of servers and earlier choices say.
func TestAKeyHasOneServer(t *testing.T) {
	all := fleet(1, 1, 1, 1, 1)
	first, again := homes(t, 300, all...), homes(t, 300, all...)
	slices.Reverse(all)
	if reversed := homes(t, 300, all...); !slices.Equal(first, again) || !slices.Equal(first, reversed) {
		t.Error("keys have other servers where servers stand in another order, or another time")
	}
}

// Where a server goes, its own keys move and no others; and so they do back when it returns.
func TestOnlyTheKeysOfAServerThatGoesMove(t *testing.T) {
	all := fleet(1, 1, 1, 1, 1)
	before, after := homes(t, 1000, all...), homes(t, 1000, all[1:]...)
	moved := 0
	for k := range before {
		switch {
		case before[k] == all[0].ID:
			moved++
		case before[k] != after[k]:
			t.Fatalf("key %d has moved from %s to %s though its server is there", k, before[k], after[k])
		}
	}
	if moved < 140 || moved > 260 {
		t.Errorf("%d of 1000 keys were at one of five servers, want about 200", moved)
	}
}

// Servers have as many keys as their declared weight says.
func TestKeysAreSharedByWeight(t *testing.T) {
	all := fleet(1, 3)
	all = append(all, given{ServerSpec: server("fast", 1, 4)})
	count := make(map[balance.ServerID]int)
	for _, id := range homes(t, 4000, all...) {
		count[id]++
	}
	for id, want := range map[balance.ServerID]int{"s0": 500, "s1": 1500, "fast": 2000} {
		if got := count[id]; math.Abs(float64(got-want)) > .12*float64(want) {
			t.Errorf("%s has %d of 4000 keys, want about %d", id, got, want)
		}
	}
}

// However often one key is asked for, no server has more than 1.25 times its share, rounded up; and the key's own
// server gets all up to that.
func TestAKeyOverflowsAtTheBound(t *testing.T) {
	pool := pool(t, policy.ConsistentHash{}, 1, server("a", 1, 0), server("b", 1, 0), server("c", 2, 0), server("d", 4, 0))
	req := balance.Request{Edge: "e", Key: "the one that all ask for"}
	weight := map[balance.ServerID]float64{"a": 1, "b": 1, "c": 2, "d": 4}
	has := make(map[balance.ServerID]float64)
	var home balance.ServerID
	for total := 1.; total <= 200; total++ {
		bound := func(id balance.ServerID) float64 { return math.Ceil(1.25 * total * weight[id] / 8) }
		g, err := pool.Pick(lookedAt, &req)
		if err != nil {
			t.Fatal(err)
		}
		if home == "" {
			home = balance.ServerID(string([]byte(g.Server)))
		}
		if g.Server != home && has[home] < bound(home) {
			t.Fatalf("request %v went to %s though the key's own server, %s, has %v and may have %v", total, g.Server, home, has[home], bound(home))
		}
		if has[g.Server]++; has[g.Server] > bound(g.Server) {
			t.Fatalf("%s has %v of %v requests, want %v at most", g.Server, has[g.Server], total, bound(g.Server))
		}
	}
}

// Requests without a key go to any server, by lot.
func TestRequestsWithoutAKeyAreSpread(t *testing.T) {
	const n = 2000
	got := counts(t, policy.ConsistentHash{}, n, fleet(1, 1, 2)...)
	for i, want := range []int{n / 4, n / 4, n / 2} {
		if got[i] < want*8/10 || got[i] > want*12/10 {
			t.Errorf("server %d got %d of %d requests without a key, want about %d", i, got[i], n, want)
		}
	}
}
