package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// given is servers of a pool as a policy sees them, by the leases that each has.
type given struct {
	balance.ServerSpec
	leases int
	faults int // answers before, each a fault
}

// catch has the pool hand out what a policy sees.
type catch struct{ seen []*balance.Server }

func (c *catch) Choose(_ balance.Instant, _ *balance.Request, candidates []*balance.Server, _ *rand.Rand) int {
	c.seen = append(c.seen[:0], candidates...)
	return 0
}

const lookedAt = second * 120 // when all servers have warmed up

// candidates returns the pool's servers in the order in which they are given.
func candidates(t testing.TB, all ...given) []*balance.Server {
	t.Helper()
	c := new(catch)
	p := balance.New(balance.Config{Name: "web"}, c, 1)
	for i := range all {
		if err := p.Put(second, all[i].ServerSpec, true); err != nil {
			t.Fatal(err)
		}
	}
	for i := range all {
		var others []balance.ServerID
		for j := range all {
			if j != i {
				others = append(others, all[j].ID)
			}
		}
		for n := range all[i].faults + all[i].leases {
			g, err := p.Pick(lookedAt, &balance.Request{Edge: "e", Exclude: others})
			if err != nil {
				t.Fatal(err)
			}
			if n < all[i].faults {
				p.Done(lookedAt, g.Lease, balance.Outcome{Result: balance.Fault})
			}
		}
	}
	g, err := p.Pick(lookedAt, &balance.Request{Edge: "e"})
	if err != nil {
		t.Fatal(err)
	}
	p.Done(lookedAt, g.Lease, balance.Outcome{Result: balance.Canceled})
	if len(c.seen) != len(all) {
		t.Fatalf("a policy sees %d of %d servers", len(c.seen), len(all))
	}
	return slices.Clone(c.seen)
}

func server(id string, slots, speed float64) balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(id), Address: "127.0.0.1:80", Slots: slots, Speed: speed}
}
