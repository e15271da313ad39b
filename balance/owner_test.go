package balance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// Ids can be guessed. A lease is ended, renewed and taken along by its own edge only.
func TestALeaseIsItsEdges(t *testing.T) {
	p := balance.New(balance.Config{Name: "p"}, policy.Random{}, 1)
	if err := p.Put(second, balance.ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	pick := func(edge balance.EdgeID) balance.LeaseID {
		g, err := p.Pick(second, &balance.Request{Edge: edge, Hold: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return g.Lease
	}
	hold := func(edge balance.EdgeID, id balance.LeaseID) error {
		return p.Hold(second, edge, &balance.Held{Lease: id, Server: "a", Left: time.Hour, Tag: 5})
	}
	own, nobodys := pick("e1"), pick("")
	for _, stranger := range []balance.EdgeID{"e2", ""} {
		if how := p.DoneBy(second, stranger, own, balance.Outcome{}); how != balance.Foreign {
			t.Errorf("%q ends e1's lease: %d, want foreign", stranger, how)
		}
	}
	if how := p.DoneBy(second, "e1", nobodys, balance.Outcome{}); how != balance.Foreign {
		t.Errorf("e1 ends a lease of no edge: %d, want foreign", how)
	}
	if err := hold("e2", own); !errors.Is(err, balance.ErrForeign) {
		t.Errorf("e2 renews e1's lease: %v", err)
	}
	if l, open := p.Lease(own); !open || l.Edge != "e1" || l.Expires != second.Add(time.Minute) || l.Adopted {
		t.Errorf("after all that: %+v, %v", l, open)
	}
	if how := p.DoneBy(second, "e1", own, balance.Outcome{}); how != balance.Ended {
		t.Errorf("e1 ends its own lease: %d, want ended", how)
	}
	if how := p.DoneBy(second, "e1", own, balance.Outcome{}); how != balance.NotOpen {
		t.Errorf("once more: %d, want not open", how)
	}

	// One that was granted and has ended may come back with its edge. One that is still to
	// be granted would be in the way of the next holder.
	if err := hold("e1", own); err != nil {
		t.Errorf("e1 is back with its lease: %v", err)
	}
	if l, _ := p.Lease(own); !l.Adopted || l.Tag != 5 {
		t.Errorf("adopted: %+v", l)
	}
	if how := p.DoneBy(second, "e2", own, balance.Outcome{}); how != balance.Foreign {
		t.Errorf("e2 ends a lease that e1 has brought: %d, want foreign", how)
	}
	if err := hold("e2", own); !errors.Is(err, balance.ErrForeign) {
		t.Errorf("e2 renews a lease that e1 has brought: %v", err)
	}
	slotAfter, genAfter := own+1000, own+1<<24
	for _, future := range []balance.LeaseID{slotAfter, genAfter, own + 1<<30} {
		if err := hold("e2", future); !errors.Is(err, balance.ErrForeign) {
			t.Errorf("e2 holds %s, which has not been granted: %v", future, err)
		}
	}
	p.DoneBy(second, "e1", own, balance.Outcome{})
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}
