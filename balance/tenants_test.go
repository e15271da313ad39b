package balance_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Who takes another tenant's name for each request gets the turn of one tenant, and puts no
// other out of the queue.
func TestRotatingTenantsDisplaceNoOthers(t *testing.T) {
	for name, c := range map[string]struct {
		tenant func(n int) string
		share  float64 // of the other tenant, at least
	}{
		"one name":              {func(int) string { return "evil" }, .45},
		"a name for each":       {func(n int) string { return fmt.Sprint("evil-", n) }, .45},
		"thousands, over again": {func(n int) string { return fmt.Sprint("evil-", n%3000) }, .3}, // some get to be known
	} {
		t.Run(name, func(t *testing.T) {
			p, held := full(t, 40)
			now, n, good := second, 0, make(map[balance.WaitID]bool)
			served, lost := 0, 0
			const rounds, firstCounted = 4000, 1000
			for round := range rounds {
				for range 3 { // each is more than is served, so the queue is always full
					n++
					_, _, _ = p.Join(now, &balance.Request{Tenant: c.tenant(n)})
				}
				for len(good) < 2 {
					id, _, refusal := p.Join(now, &balance.Request{Tenant: "good"})
					if refusal != nil {
						lost++
						break
					}
					good[id] = true
				}
				p.Done(now, held, balance.Outcome{})
				for _, r := range p.Serve(now, nil) {
					if r.Refusal == nil {
						held = r.Grant.Lease
					}
					if good[r.ID] {
						delete(good, r.ID)
						switch {
						case round < firstCounted:
						case r.Refusal == nil:
							served++
						default:
							lost++
						}
					}
				}
				now += second / 1000
			}
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			if share := float64(served) / (rounds - firstCounted); share < c.share {
				t.Errorf("the other tenant was served %.2f of the time, want %.2f; %d of its requests were put out of the queue", share, c.share, lost)
			}
		})
	}
}

// With a name that is proven, or on the pool's list, a tenant is put out by no names that are not, not even by its own.
func TestProvenAndListedTenantsKeepTheirTurn(t *testing.T) {
	for name, c := range map[string]struct {
		listed map[string]balance.TenantConfig
		good   balance.Request
		evil   func(n int) balance.Request
	}{
		"proven beside told ones":    {nil, balance.Request{Tenant: "good", Belief: balance.Proven}, func(n int) balance.Request { return balance.Request{Tenant: fmt.Sprint("evil-", n)} }},
		"proven beside its own name": {nil, balance.Request{Tenant: "good", Belief: balance.Proven}, func(int) balance.Request { return balance.Request{Tenant: "good"} }},
		"proven beside disbelieved ones": {nil, balance.Request{Tenant: "good", Belief: balance.Proven}, func(n int) balance.Request {
			return balance.Request{Tenant: fmt.Sprint("evil-", n%7), Belief: balance.Disbelieved}
		}},
		"told beside disbelieved ones": {nil, balance.Request{Tenant: "good"}, func(int) balance.Request { return balance.Request{Tenant: "good", Belief: balance.Disbelieved} }},
		"listed beside told ones":      {map[string]balance.TenantConfig{"good": {}, "other": {}}, balance.Request{Tenant: "good"}, func(n int) balance.Request { return balance.Request{Tenant: fmt.Sprint("evil-", n%3)} }},
		"listed beside proven ones": {map[string]balance.TenantConfig{"good": {}}, balance.Request{Tenant: "good", Belief: balance.Proven}, func(n int) balance.Request {
			return balance.Request{Tenant: fmt.Sprint("evil-", n), Belief: balance.Proven}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, held := full(t, 40)
			p.Configure(second, balance.Config{Name: "web", QueueSize: 40, Tenants: c.listed}, first{})
			now, n, waits, served, lost := second, 0, make(map[balance.WaitID]bool), 0, 0
			const rounds = 2000
			for range rounds {
				for range 3 {
					n++
					evil := c.evil(n)
					_, _, _ = p.Join(now, &evil)
				}
				for len(waits) < 2 {
					good := c.good
					waits[join(t, p, now, good)] = true
				}
				p.Done(now, held, balance.Outcome{})
				for _, r := range p.Serve(now, nil) {
					if r.Refusal == nil {
						held = r.Grant.Lease
					}
					if !waits[r.ID] {
						continue
					}
					delete(waits, r.ID)
					if r.Refusal == nil {
						served++
					} else {
						lost++
					}
				}
				now += second / 1000
			}
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			if share := float64(served) / rounds; share < .45 || lost > 0 {
				t.Errorf("the tenant was served %.2f of the time and %d of its requests were put out of the queue, want half and none", share, lost)
			}
		})
	}
}

// What a pool learns of tenants by serving them it learns of names that count.
func TestDisbelievedTenantsAreNotLearnt(t *testing.T) {
	p, held := full(t, 100)
	names := make(map[balance.WaitID]string)
	for i := range 6 { // more than have lines of their own
		tenant := fmt.Sprint("t", i)
		for range 5 {
			names[join(t, p, second, balance.Request{Tenant: tenant, Belief: balance.Disbelieved})] = tenant
		}
	}
	names[join(t, p, second, balance.Request{Tenant: "good"})] = "good"
	var order []string
	for range 3 {
		p.Done(second, held, balance.Outcome{})
		for _, r := range p.Serve(second, nil) {
			held = r.Grant.Lease
			order = append(order, names[r.ID])
		}
	}
	if !slices.Contains(order[:min(2, len(order))], "good") {
		t.Errorf("served were %q, want the other tenant second: all disbelieved ones share a line", order)
	}
}

// A handful of tenants that are not known yet have a line each.
func TestFewUnknownTenantsShareEvenly(t *testing.T) {
	p, held := full(t, 100)
	names := make(map[balance.WaitID]string)
	for range 10 {
		for _, tenant := range []string{"a", "a", "a", "b", "c"} {
			names[join(t, p, second, balance.Request{Tenant: tenant})] = tenant
		}
	}
	count := make(map[string]int)
	for range 15 {
		p.Done(second, held, balance.Outcome{})
		out := p.Serve(second, nil)
		held = out[0].Grant.Lease
		count[names[out[0].ID]]++
	}
	if count["a"] != 5 || count["b"] != 5 || count["c"] != 5 {
		t.Errorf("served %v, want five of each", count)
	}
}
