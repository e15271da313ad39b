package balance

import (
	"fmt"
	"testing"
)

// Ids of edges are chosen by peers. What a pool keeps of one goes when the edge has gone and
// its last lease has ended, and no edge gets another's number while that counts.
func TestEdgesThatHaveGoneAreForgotten(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), second
	if err := p.Put(now, ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	pick := func(id EdgeID) LeaseID {
		g, err := p.Pick(now, &Request{Edge: id})
		if err != nil {
			t.Fatal(err)
		}
		return g.Lease
	}
	stays := pick("stays") // connected and idle but for one lease
	late := pick("late")   // gone, and its lease is kept for its return
	p.Lost(now, "late")
	for i := range 10_000 {
		id := EdgeID(fmt.Sprint("edge-", i))
		lease := pick(id)
		if i%2 == 0 {
			p.DoneBy(now, id, lease, Outcome{})
			p.Lost(now, id)
		} else {
			p.Left(now, id)
		}
	}
	if n := len(p.edges); n > 4*fewEdges {
		t.Errorf("%d edges are kept, of which 2 have leases", n)
	}
	for id, lease := range map[EdgeID]LeaseID{"stays": stays, "late": late} {
		if l, open := p.Lease(lease); !open || l.Edge != id {
			t.Errorf("the lease of %s is %+v, open: %v", id, l, open)
		}
	}
	if err := p.Hold(now, "late", &Held{Lease: late, Server: "a"}); err != nil {
		t.Error(err)
	}
	pick("late") // is back
	if p.edges[p.edgeNo["late"]].gone {
		t.Error("an edge that asks has gone")
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}
