package balance_test

import (
	"slices"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Those that wait are told their places in the order in which they are served: priorities first, then tenants in turn.
func TestStandings(t *testing.T) {
	p, held := full(t, 100)
	for _, w := range []struct {
		tenant   string
		priority int
	}{{"big", 0}, {"big", 0}, {"big", 0}, {"small", 0}, {"big", 5}, {"small", 0}, {"third", 0}} {
		join(t, p, second, balance.Request{Tenant: w.tenant, Priority: w.priority})
	}
	for left := 7; left > 0; left-- {
		var order []balance.WaitID
		p.Standings(func(id balance.WaitID, at balance.Standing) {
			if order = append(order, id); at.Position != len(order) || at.Wait != 0 {
				t.Errorf("number %d is told %+v", len(order), at)
			}
		})
		if len(order) != left {
			t.Fatalf("%d are told, want %d", len(order), left)
		}
		p.Done(second, held, balance.Outcome{})
		out := p.Serve(second, nil)
		if at := slices.Index(order, out[0].ID); at > 2 || p.StandingAt(at+1).Position != at+1 {
			t.Errorf("of %d, number %d is served", left, at+1)
		}
		held = out[0].Grant.Lease
	}
	p.Standings(func(balance.WaitID, balance.Standing) { t.Error("none waits any more") })
}
