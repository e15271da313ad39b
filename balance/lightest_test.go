package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
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
	p.sizes = sizes{n: 1000, xx: 1, xy: 1, yy: 1, exponent: 1, mean: 1, works: sizesMemory, work: 1, square: 10, varied: true}
	p.sizes.concludeSize()
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

// TestNoServersWorkIsFarAboveAnothers states the bound of docs/choosing.md, by the formulas there and from the leases one by one: a request goes to a server only if
// the cube of its time there is at most what it would cost at any other with room, and waits for one only if it is done sooner there.
func TestNoServersWorkIsFarAboveAnothers(t *testing.T) {
	waited, crowded := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p, now := New(Config{Name: "web", QueueSize: rapid.SampledFrom([]int{0, 20}).Draw(t, "queue")}, ByScore{unitScore{}}, 1), sec
		for i := range rapid.IntRange(2, 6).Draw(t, "servers") {
			slots, speed := float64(rapid.IntRange(1, 3).Draw(t, "slots")), rapid.Float64Range(.5, 4).Draw(t, "speed")
			if err := p.Put(now, ServerSpec{ID: ServerID(rune('a' + i)), Address: "127.0.0.1:1", Slots: slots, Speed: speed}, true); err != nil {
				t.Fatal(err)
			}
		}
		p.sizes = *regression(100, 1, func(_ *rand.Rand, log float64) float64 { return log }, math.Inf(1))
		p.takes(100*time.Millisecond, time.Microsecond)
		p.times.perUsual = 10
		now = now.Add(time.Minute)
		p.perRatio, p.workPrice = rapid.Float64Range(.5, 2).Draw(t, "per ratio"), rapid.Float64Range(0, idlePrice).Draw(t, "price")
		for _, s := range p.servers {
			p.assess(s)
			p.rank(now, s)
		}
		var open []LeaseID
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "ms")) * time.Millisecond)
			if len(open) > 0 && rapid.Bool().Draw(t, "ends") {
				p.Done(now, open[0], Outcome{Result: Canceled, Duration: 100 * time.Millisecond})
				open = open[1:]
			}
			req := Request{Edge: "e", Size: rapid.Float64Range(.05, 20).Draw(t, "size")}
			p.maintain(now)
			s, later := p.lightest(now, &req)
			if s == nil && later == nil {
				continue
			}
			z := p.sizes.workOf(kind{size: req.Size})
			least, stay := math.Inf(1), math.Inf(1) // that it costs where there is room, and the time there
			for _, o := range p.servers {
				if o.standing != isOpen {
					continue
				}
				at, slows, price := p.byHand(now, o, z)
				if cost := at*at*at + slows + price; cost < least {
					least, stay = cost, at
				}
			}
			if later != nil {
				waited++
				left := p.leftByHand(now, later) + later.workload(now).awaited
				if at := (left/later.capacity.slots + z) * later.ratio * p.perRatio / p.sizes.meanWork(); at > stay*(1+1e-9) {
					t.Fatalf("a request of work %v waits for %s, where it takes %v, and would take %v at once", z, later.spec.ID, at, stay)
				}
				continue
			}
			if at, _, _ := p.byHand(now, s, z); at*at*at > least*(1+1e-9) {
				t.Fatalf("a request of work %v takes %v at %s, and costs %v elsewhere", z, at, s.spec.ID, least)
			}
			if s.Load(now) > s.capacity.slots {
				crowded++
			}
			g, err := p.Pick(now, &req)
			if err != nil || g.Server != s.spec.ID {
				t.Fatalf("the lightest is %s, and the choice %v, %v", s.spec.ID, g.Server, err)
			}
			open = append(open, g.Lease)
		}
	})
	if waited == 0 || crowded == 0 {
		t.Errorf("%d requests waited for a server, and %d went where no slot was free: the bound has not been tried", waited, crowded)
	}
}

// leftByHand is the work that the server's leases have left.
func (p *Pool) leftByHand(now Instant, s *Server) (left float64) {
	n := 0
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 && l.server == s {
			left += l.work - (s.work.gotBy(now) - l.began)
			n++
		}
	}
	return max(left, .3*float64(n)*p.sizes.meanWork())
}

// byHand is what a request of work z costs at a server with room: T, S and the price.
func (p *Pool) byHand(now Instant, s *Server, z float64) (stay, slows, price float64) {
	n, c, r, m, left := float64(s.leases), s.capacity.slots, s.ratio*p.perRatio, p.sizes.meanWork(), p.leftByHand(now, s)
	stay = max(z, (z+min(left, n*z))/c) * r / m
	if n+1 > c+slotsError {
		stress := 0.
		for i := range p.ledger.leases {
			if l := &p.ledger.leases[i]; l.id != 0 && l.server == s {
				stress += l.stress
			}
		}
		slows = stress * min(z, left/n) / c * r / m
	}
	return stay, slows, p.workPrice * z / m / (s.ratio * p.perRatio)
}
