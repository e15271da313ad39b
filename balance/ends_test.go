package balance_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// A pool that dispatches keeps the end of each lease once, in order; leases that have only moved to another master have
// not ended.
func TestEndsOfLeasesAreKept(t *testing.T) {
	p := balance.New(balance.Config{Name: "web", Dispatch: true, LeaseTime: time.Second}, policy.Random{}, 1)
	if err := p.Put(1, balance.ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	pick := func(edge balance.EdgeID, hold time.Duration) balance.LeaseID {
		g, err := p.Pick(1, &balance.Request{Edge: edge, Hold: hold})
		if err != nil {
			t.Fatal(err)
		}
		return g.Lease
	}
	done, expires, left, moved := pick("e", 0), pick("e", time.Second), pick("gone", 0), pick("e", 0)
	if ends := p.TakeEnds(); ends != nil {
		t.Errorf("before any end: %v", ends)
	}
	p.Done(2, done, balance.Outcome{Result: balance.Canceled})
	p.Done(2, done, balance.Outcome{})
	p.Left(3, "gone")
	p.Expire(balance.Instant(time.Minute))
	want := []balance.LeaseEnd{{done, "a", balance.Canceled}, {left, "a", balance.Expired}, {expires, "a", balance.Expired}}
	if ends := p.TakeEnds(); !slices.Equal(ends, want) {
		t.Errorf("ends %v, want %v", ends, want)
	}
	if n := p.Resign(balance.Instant(time.Minute)); n != 1 {
		t.Errorf("%d leases moved, want that of %s", n, moved)
	}
	if ends := p.TakeEnds(); ends != nil {
		t.Errorf("leases that have moved are told as ended: %v", ends)
	}
	p.Configure(balance.Instant(time.Minute), balance.Config{Name: "web"}, policy.Random{})
	p.Done(balance.Instant(time.Minute), pick("e", 0), balance.Outcome{})
	if ends := p.TakeEnds(); ends != nil {
		t.Errorf("a pool that does not dispatch keeps %v", ends)
	}
}
