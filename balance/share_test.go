package balance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Tenants of a full pool get as much of its servers' time as their weights say, whatever the sizes of their requests.
func TestTenantsShareWorkByWeight(t *testing.T) {
	for name, c := range map[string]struct {
		tenants map[string]balance.TenantConfig
		took    map[string]time.Duration
		share   float64       // of a, of all work
		says    time.Duration // how many times as long as it took the edge says that a request of a took
	}{
		"equal work":         {nil, map[string]time.Duration{"a": 100 * time.Millisecond, "b": 100 * time.Millisecond}, .5, 1},
		"ten times as long":  {nil, map[string]time.Duration{"a": 100 * time.Millisecond, "b": time.Second}, .5, 1},
		"a hundredth":        {nil, map[string]time.Duration{"a": time.Second, "b": 10 * time.Millisecond}, .5, 1},
		"twice the weight":   {map[string]balance.TenantConfig{"a": {Weight: 2}, "b": {}}, map[string]time.Duration{"a": 100 * time.Millisecond, "b": time.Second}, 2. / 3, 1},
		"a third the weight": {map[string]balance.TenantConfig{"a": {}, "b": {Weight: 3}}, map[string]time.Duration{"a": time.Second, "b": 100 * time.Millisecond}, .25, 1},
		"an edge that lies":  {nil, map[string]time.Duration{"a": 100 * time.Millisecond, "b": 100 * time.Millisecond}, .5, 1000},
	} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprint(name, ", order ", seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				p, held := full(t, 100)
				p.Configure(second, balance.Config{Name: "web", QueueSize: 100, QueueWait: time.Hour, Tenants: c.tenants}, first{})
				now, tenants := second, make(map[balance.WaitID]string)
				for i := range 40 {
					order := []string{"a", "b"}
					if rng.IntN(2) == 0 {
						slices.Reverse(order)
					}
					for _, tenant := range order {
						tenants[join(t, p, now, balance.Request{Tenant: tenant, Path: fmt.Sprint(i)})] = tenant
					}
				}
				used, all := make(map[string]time.Duration), time.Duration(0)
				type running struct {
					lease  balance.LeaseID
					tenant string
					since  balance.Instant
				}
				at := []running{{held, "", now}} // the server works on one after the other
				for range 4000 {
					first := at[0]
					took := c.took[first.tenant]
					now, at = now.Add(took), at[1:]
					says := now.Sub(first.since)
					if first.tenant == "a" {
						says *= c.says
					}
					p.Done(now, first.lease, balance.Outcome{Duration: says})
					used[first.tenant] += took
					all += took
					for _, r := range p.Serve(now, nil) {
						if r.Refusal != nil {
							t.Fatal(r.Refusal)
						}
						tenant := tenants[r.ID]
						at = append(at, running{r.Grant.Lease, tenant, now})
						tenants[join(t, p, now, balance.Request{Tenant: tenant})] = tenant
					}
				}
				if got := float64(used["a"]) / float64(all); got < c.share-.03 || got > c.share+.03 {
					t.Errorf("a has used %.3f of the server's time, want %.3f; b has used %v", got, c.share, used["b"])
				}
				if err := p.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A tenant that comes back has no credit from when it sent nothing.
func TestATenantThatWasAwayHasNoCredit(t *testing.T) {
	p, held := full(t, 100)
	now := second
	for range 50 {
		join(t, p, now, balance.Request{Tenant: "always"})
	}
	leases := []balance.LeaseID{held}
	serve := func() (served []balance.WaitID) {
		now = now.Add(time.Second)
		p.Done(now, leases[0], balance.Outcome{Duration: time.Second})
		leases = leases[1:]
		for _, r := range p.Serve(now, nil) {
			served, leases = append(served, r.ID), append(leases, r.Grant.Lease)
		}
		return served
	}
	for range 4 {
		serve()
	}
	mine := make(map[balance.WaitID]bool)
	for range 10 {
		mine[join(t, p, now, balance.Request{Tenant: "back"})] = true
	}
	got, turns := 0, 0
	for range 4 {
		for _, id := range serve() {
			turns++
			if mine[id] {
				got++
			}
		}
	}
	if turns != 4 || got != 2 {
		t.Errorf("of %d turns the tenant that came back got %d, want 2 of 4: no more than the other", turns, got)
	}
}

// The ends of several requests may be told at once. How long each took is not known then, and no request is refused for it.
func TestEndsThatAreToldAtOnce(t *testing.T) {
	p, held := full(t, 100)
	a := balance.Request{Tenant: "a", Belief: balance.Proven}
	now, leases := second, []balance.LeaseID{held}
	together := 0
	for i := 0; i < 2000 && together < 20; i++ {
		for p.Waiting() < 20 {
			join(t, p, now, a)
		}
		now = now.Add(100 * time.Millisecond)
		for _, id := range leases {
			p.Done(now, id, balance.Outcome{Duration: 100 * time.Millisecond})
		}
		if len(leases) > 1 {
			together++
		}
		leases = leases[:0]
		for _, r := range p.Serve(now, nil) {
			if r.Refusal == nil {
				leases = append(leases, r.Grant.Lease)
			}
		}
	}
	if together == 0 {
		t.Fatal("no two requests ended at once")
	}
	a.Deadline = now.Add(10 * time.Second)
	if _, _, refusal := p.Join(now, &a); refusal != nil {
		t.Errorf("a request with ten seconds left for a tenth of a second's work is refused: %v", refusal)
	}
}

// An edge cannot have a pool believe that its requests take an hour: no more than their leases were open, and a second.
func TestADurationThatCannotBeIsNotBelieved(t *testing.T) {
	p := balance.New(balance.Config{Name: "web", QueueSize: 10}, balance.ByScore{Scorer: leastLoad{}}, 1)
	if err := p.Put(second, balance.ServerSpec{ID: "s1", Address: "127.0.0.1:80", Slots: 4}, true); err != nil {
		t.Fatal(err)
	}
	now := balance.Instant(time.Hour)
	for range 300 {
		g, err := p.Pick(now, &balance.Request{Edge: "e1"})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Millisecond)
		p.DoneBy(now, "e1", g.Lease, balance.Outcome{Duration: 40 * time.Hour})
	}
	if service := p.Snapshot(now).Servers[0].Service; service > 1.1 {
		t.Errorf("a request is believed to take %.1f s, want at most what its lease was open, and a second", service)
	}
	if p99 := p.Views(now)[0].Traffic.P99; p99 > 2*time.Second {
		t.Errorf("p99 is shown as %v", p99)
	}
}
