package balance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What edges may send to a server with a cap without a master adds up to the cap, whatever their number.
func TestSharesAddUpToTheCap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, edges := rapid.IntRange(1, 200).Draw(t, "cap"), rapid.IntRange(1, 64).Draw(t, "edges")
		id := ServerID(rapid.StringN(1, 20, 20).Draw(t, "server"))
		sum, least, largest := 0, most, 0
		for place := range edges {
			n := Share(most, string(id), place, edges)
			sum, least, largest = sum+n, min(least, n), max(largest, n)
		}
		if sum != most || largest-least > 1 {
			t.Fatalf("the shares of %d edges in a cap of %d add up to %d, from %d to %d", edges, most, sum, least, largest)
		}
	})
	if n := Share(3, "a", -1, 2) + Share(3, "a", 2, 2) + Share(3, "a", 0, 0); n != 0 {
		t.Errorf("edges that share nothing may send %d requests", n)
	}
}

// Nothing lifts a cap: no pool without a queue, no last resort, no trial, no newcomer's limit.
func TestACapIsNeverExceeded(t *testing.T) {
	reached := 0
	checkUntil(t, func() bool { return reached > 0 }, func(t *rapid.T) {
		p, now := New(Config{Name: "web", QueueSize: rapid.SampledFrom([]int{0, 5}).Draw(t, "queue"), MaxInFlight: 2}, ByScore{nothing{}}, 1), Instant(time.Hour)
		caps := map[ServerID]int{"a": 1, "b": 2, "c": 3}
		for _, id := range []ServerID{"a", "b", "c"} {
			spec := ServerSpec{ID: id, Address: "127.0.0.1:80", Slots: 100}
			if id != "b" {
				spec.MaxInFlight = caps[id]
			}
			if err := p.Put(now, spec, true); err != nil {
				t.Fatal(err)
			}
		}
		var open []LeaseID
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				req := &Request{Edge: "e", Exclude: rapid.SampledFrom([][]ServerID{nil, {"a"}, {"b", "c"}}).Draw(t, "exclude")}
				if g, err := p.Pick(now, req); err == nil {
					open = append(open, g.Lease)
				} else if p.cfg.QueueSize > 0 {
					p.Join(now, req)
				}
			},
			"done": func(t *rapid.T) {
				if len(open) > 0 {
					p.Done(now, open[0], Outcome{Result: Result(rapid.IntRange(0, int(Results)-1).Draw(t, "result")), Duration: time.Millisecond, Status: 503})
					open = open[1:]
				}
			},
			"await": func(t *rapid.T) { p.Await(now, now.Add(2*time.Second)) },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "step")))
				p.Expire(now)
				for _, r := range p.Serve(now, nil) {
					if r.Refusal == nil {
						open = append(open, r.Grant.Lease)
					}
				}
			},
			"": func(t *rapid.T) {
				for _, s := range p.servers {
					switch most := int32(caps[s.spec.ID]); {
					case s.leases > most:
						t.Fatalf("server %s has %d leases, its cap is %d", s.spec.ID, s.leases, most)
					case s.leases == most:
						reached++
					}
				}
			},
		})
	})
}

// A server that is out gets requests all the same if all are out, but no more than its cap.
func TestACapHoldsThoughAllAreOut(t *testing.T) {
	p, now := New(Config{Name: "web"}, ByScore{nothing{}}, 1), Instant(time.Hour)
	if err := p.Put(now, ServerSpec{ID: "a", Address: "127.0.0.1:80", Slots: 100, MaxInFlight: 2}, true); err != nil {
		t.Fatal(err)
	}
	for p.Views(now)[0].State != Ejected {
		g, err := p.Pick(now, &Request{Edge: "e"})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(now, g.Lease, Outcome{Result: Unreachable})
	}
	for i := range 3 {
		if _, err := p.Pick(now, &Request{Edge: "e"}); (err == nil) != (i < 2) {
			t.Errorf("request %d: %v, want two to be taken", i, err)
		}
	}
}

// A pool whose master has just begun gives nothing to servers with a cap until its edges' leases are known.
func TestAMasterThatBeginsTakesServersWithACapToBeFull(t *testing.T) {
	p, now := New(Config{Name: "web", QueueSize: 5}, ByScore{nothing{}}, 1), Instant(time.Hour)
	p.Await(now, now.Add(5*time.Second))
	if err := p.Put(now, ServerSpec{ID: "a", Address: "127.0.0.1:80", Slots: 4, MaxInFlight: 2}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(now, &Request{}); err == nil {
		t.Fatal("a server with a cap has a request of a master that does not know yet how many it has")
	}
	if _, _, refusal := p.Join(now, &Request{}); refusal != nil {
		t.Fatal(refusal)
	}
	if err := p.Hold(now, "e", &Held{Lease: 77, Server: "a", Age: time.Second}); err != nil {
		t.Fatal(err)
	}
	if out := p.Serve(now.Add(4*time.Second), nil); len(out) != 0 {
		t.Fatalf("Serve released %+v before all leases can be known", out)
	}
	if out := p.Serve(now.Add(5*time.Second), nil); len(out) != 1 || out[0].Refusal != nil {
		t.Fatalf("Serve released %+v, want the one that waits", out)
	}
	if _, err := p.Pick(now.Add(5*time.Second), &Request{}); err == nil {
		t.Error("a third request on a server with a cap of 2")
	}
}

// A tenant never has more requests than its cap, and what waits of it keeps no others from servers.
func TestATenantsCap(t *testing.T) {
	p, now := roomy(t, 3, 0), Instant(time.Hour)
	p.Configure(now, Config{Name: "web", QueueSize: 100, Tenants: map[string]TenantConfig{"a": {MaxInFlight: 1}, "b": {}}}, ByScore{nothing{}})
	first, err := p.Pick(now, &Request{Tenant: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(now, &Request{Tenant: "a"}); err == nil {
		t.Fatal("a second request of a tenant with a cap of 1")
	}
	wait, _, refusal := p.Join(now, &Request{Tenant: "a"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if _, err := p.Pick(now, &Request{Tenant: "b"}); err != nil {
		t.Errorf("another tenant waits for the first one's cap: %v", err)
	}
	if out := p.Serve(now, nil); len(out) != 0 {
		t.Errorf("Serve released %+v of a tenant at its cap", out)
	}
	p.Done(now, first.Lease, Outcome{})
	if out := p.Serve(now, nil); len(out) != 1 || out[0].ID != wait || out[0].Refusal != nil {
		t.Errorf("Serve released %+v, want wait %d", out, wait)
	}
}

// As many tenants as may be listed stay, and are not all looked at for each further one.
func TestTenantsThatStayAreNotSweptForEachOther(t *testing.T) {
	p, now := roomy(t, 1, 0), Instant(time.Hour)
	listed := make(map[string]TenantConfig)
	for i := range MaxTenants {
		listed[fmt.Sprint("t", i)] = TenantConfig{}
	}
	p.Configure(now, Config{Name: "web", Tenants: listed}, ByScore{nothing{}})
	for i := range MaxTenants {
		p.tenantAt(place{tenant: fmt.Sprint("u", i), belief: Proven}) // idle
	}
	fixed := 2 * MaxTenants // told and proven
	if n := len(p.tenants.all); n < fixed || n > 2*fixed {
		t.Errorf("%d tenants are remembered, want those of the list, %d, and no more than as many others", n, fixed)
	}
	if p.tenants.sweepAt < 2*fixed {
		t.Errorf("all are looked at as soon as there are %d, want %d: half of them stay", p.tenants.sweepAt, 2*fixed)
	}
}

// What a server with a cap does not get because leases may not have been told yet is put down to its limit, and not to its score.
func TestWhatACapKeepsFromAServerIsTold(t *testing.T) {
	p, now := roomy(t, 1, 0), Instant(time.Hour)
	if err := p.Put(now, ServerSpec{ID: "capped", Address: "127.0.0.1:81", Slots: 1, MaxInFlight: 1}, true); err != nil {
		t.Fatal(err)
	}
	p.Await(now, now.Add(time.Minute))
	for range 3 {
		g, err := p.Pick(now, &Request{})
		if err != nil || g.Server != "s0" {
			t.Fatalf("got %q, %v, want s0", g.Server, err)
		}
		p.Done(now, g.Lease, Outcome{})
	}
	if l, _ := p.Losses(now, "capped"); len(l.Lost) != 1 || l.Lost[0].Why != lossWords[lostByLimit] || l.Lost[0].Count != 3 {
		t.Errorf("it did not get %+v, want 3 because it is at its limit", l.Lost)
	}
}
