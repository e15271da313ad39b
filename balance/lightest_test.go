package balance

import (
	"testing"
	"time"
)

// weighed is a pool in which sizes are times in units of 100 ms: a slow server, a fast one, four times as fast, with a slot each.
func weighed(t *testing.T) (p *Pool, slow, fast *Server, now Instant) {
	t.Helper()
	p = New(Config{Name: "web", QueueSize: 20, QueueWait: leastWait}, ByScore{unitScore{}}, 1)
	for _, s := range []ServerSpec{{ID: "slow", Address: "127.0.0.1:1", Slots: 1}, {ID: "fast", Address: "127.0.0.1:2", Slots: 1, Speed: 4}} {
		if err := p.Put(sec, s, true); err != nil {
			t.Fatal(err)
		}
	}
	p.sizes = sizes{n: 1000, xx: 1, xy: 1, yy: 1, exponent: 1, mean: 1, works: sizesMemory, work: 1}
	p.sizes.conclude()
	p.takes(100*time.Millisecond, time.Microsecond)
	p.times.perUsual = 10
	for _, s := range p.servers {
		s.ratio = 1 / s.speed
		p.bound(s)
	}
	return p, p.servers[0], p.servers[1], sec.Add(time.Minute)
}

func TestALargeRequestWaitsForAFasterServer(t *testing.T) {
	p, _, fast, now := weighed(t)
	first, err := p.Pick(now, &Request{Edge: "e", Size: 4})
	if err != nil || first.Server != fast.spec.ID {
		t.Fatalf("the first request goes to %s, %v, want fast", first.Server, err)
	}
	small, err := p.Pick(now, &Request{Edge: "e", Size: .2})
	if err != nil || small.Server != "slow" {
		t.Fatalf("a small request goes to %s, %v: it had better not wait", small.Server, err)
	}
	p.Done(now.Add(time.Millisecond), small.Lease, Outcome{Result: Canceled})
	large := Request{Edge: "e", Size: 8}
	if g, err := p.Pick(now.Add(time.Millisecond), &large); err == nil {
		t.Fatalf("a large request goes to %s: it takes 800 ms at the slow server, and 300 ms at the fast one with what is there", g.Server)
	}
	if _, _, refusal := p.Join(now.Add(time.Millisecond), &large); refusal != nil {
		t.Fatal(refusal)
	}
	// Another that is small passes it by.
	small, err = p.Pick(now.Add(2*time.Millisecond), &Request{Edge: "e", Size: .2})
	if err != nil || small.Server != "slow" {
		t.Fatalf("a small request goes to %s, %v, while one waits for the fast server", small.Server, err)
	}
	now = now.Add(100 * time.Millisecond)
	p.Done(now, first.Lease, Outcome{Result: Canceled})
	if r := p.Serve(now, nil); len(r) != 1 || r[0].Refusal != nil || r[0].Grant.Server != fast.spec.ID {
		t.Fatalf("when the fast server is free %+v is released, want the one that waited for it", r)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
}

// TestWaitingForAServerRefusesNobody: a request that cannot wait long takes the server that has room.
func TestWaitingForAServerRefusesNobody(t *testing.T) {
	for name, change := range map[string]func(p *Pool, r *Request, now Instant){
		"a deadline":        func(_ *Pool, r *Request, now Instant) { r.Deadline = now.Add(time.Second) },
		"it may overflow":   func(p *Pool, r *Request, _ Instant) { r.MayOverflow, p.cfg.Overflow.Pool = true, "other" },
		"a queue half full": func(p *Pool, _ *Request, _ Instant) { p.queue.size = 0 },
	} {
		p, _, _, now := weighed(t)
		if _, err := p.Pick(now, &Request{Edge: "e", Size: 4}); err != nil {
			t.Fatal(err)
		}
		large := Request{Edge: "e", Size: 8}
		change(p, &large, now)
		if g, err := p.Pick(now, &large); err != nil || g.Server != "slow" {
			t.Errorf("%s: it goes to %q, %v, want slow", name, g.Server, err)
		}
	}
}

// TestAWaitForAServerEnds: after half of its time a request takes any server that has room.
func TestAWaitForAServerEnds(t *testing.T) {
	p, _, _, now := weighed(t)
	if _, err := p.Pick(now, &Request{Edge: "e", Size: 4}); err != nil {
		t.Fatal(err)
	}
	large := Request{Edge: "e", Size: 8}
	if _, err := p.Pick(now, &large); err == nil {
		t.Fatal("it does not wait")
	}
	if _, _, refusal := p.Join(now, &large); refusal != nil {
		t.Fatal(refusal)
	}
	if r := p.Serve(now.Add(leastWait/2+time.Millisecond), nil); len(r) != 1 || r[0].Grant.Server != "slow" {
		t.Fatalf("released are %+v, want it at the slow server", r)
	}
}
