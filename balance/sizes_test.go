package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// regression learns from so many requests of log-normal size at servers of two speeds, whose time is that size to a power, and what
// they tell of it.
func regression(n int, power float64, tell func(rng *rand.Rand, log float64) float64, fastFrom float64) *sizes {
	rng, z, at := rand.New(rand.NewPCG(5, 7)), new(sizes), [2]sized{}
	for range n {
		log := rng.NormFloat64()
		server := 0
		time := power * log
		if log+rng.NormFloat64()/4 > fastFrom {
			server, time = 1, time-math.Log(4)
		}
		z.observe(math.Exp(tell(rng, log)), time, &at[server])
	}
	return z
}

func TestWhatSizesSay(t *testing.T) {
	exactly := func(_ *rand.Rand, log float64) float64 { return log + 3 }
	within := func(sigma float64) func(*rand.Rand, float64) float64 {
		return func(rng *rand.Rand, log float64) float64 { return log + sigma*rng.NormFloat64() }
	}
	for _, c := range []struct {
		name       string
		n          int
		power      float64
		tell       func(*rand.Rand, float64) float64
		fastFrom   float64
		low, high  float64 // the exponent
		mean, slop float64 // of the times of a size, over the usual one
	}{
		{"exact", 2000, 1, exactly, math.Inf(1), .999, 1.001, 1, .001},
		{"large ones at fast servers", 2000, 1, exactly, 0, .99, 1.01, 1, .001},
		{"time is the square of size", 2000, 2, exactly, 0, 1.99, 2, 1, .01},
		{"half a logarithm off", 4000, 1, within(.5), math.Inf(1), .75, .85, math.Exp(.1), .03},
		{"a logarithm off", 4000, 1, within(1), math.Inf(1), .45, .55, math.Exp(.25), .05},
		{"by chance", 4000, 0, exactly, math.Inf(1), 0, 0, 1, .001},
		{"the larger the shorter", 2000, -1, exactly, math.Inf(1), 0, 0, math.Exp(.5), .1},
		{"all alike", 2000, 1, func(*rand.Rand, float64) float64 { return 2 }, math.Inf(1), 0, 0, math.Exp(.5), .1},
		{"too few", 20, 1, exactly, math.Inf(1), 0, 0, math.Exp(.5), .5},
	} {
		z := regression(c.n, c.power, c.tell, c.fastFrom)
		if z.exponent < c.low || z.exponent > c.high {
			t.Errorf("%s: exponent %.4f, want %v to %v", c.name, z.exponent, c.low, c.high)
		}
		if math.Abs(z.mean-c.mean) > c.slop {
			t.Errorf("%s: the mean is %.4f times the usual time, want %.4f", c.name, z.mean, c.mean)
		}
	}
}

// TestAbsurdSizes: whatever is told, a request's work is within what sizes have been.
func TestAbsurdSizes(t *testing.T) {
	z := regression(2000, 1, func(_ *rand.Rand, log float64) float64 { return log }, math.Inf(1))
	most := math.Exp(z.exponent*mostDeviation*math.Sqrt(z.xx)) * z.mean * 1.001
	for _, told := range []float64{0, math.Copysign(0, -1), -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, 1e-300, math.SmallestNonzeroFloat64, MaxSize} {
		r := Request{Size: told}
		if work := z.workOf(kind{size: r.size()}); !(work >= 1/most && work <= most) {
			t.Errorf("a size of %v is taken for a work of %v, want %v to %v", told, work, 1/most, most)
		}
		if size := r.size(); size != 0 {
			var at sized
			for range 50 {
				z.observe(size, 0, &at)
			}
		}
	}
	if !(z.exponent >= 0 && z.exponent <= sizesMost && z.mean >= 1 && z.xx < 100) {
		t.Errorf("after absurd sizes %+v", *z)
	}
}

// TestWorkNeverDrifts: whatever sizes are told and however requests end, what is counted of work is as the leases and the queue have it,
// what servers have left is finite and not negative, and nothing is left when all is over.
func TestWorkNeverDrifts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New(Config{Name: "web", QueueSize: 20}, ByScore{unitScore{}}, 1)
		now, ids := sec, []ServerID{"a", "b", "c"}
		for i, id := range ids {
			if err := p.Put(now, ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: float64(1 + i), Speed: float64(4 - i)}, true); err != nil {
				t.Fatal(err)
			}
		}
		p.sizes = *regression(100, 1, func(_ *rand.Rand, log float64) float64 { return log }, math.Inf(1))
		p.times.observe(now, .1, math.Log(.1))
		p.times.derive(3)
		now = now.Add(time.Minute)
		var open []LeaseID
		var waiting []WaitID
		size := rapid.OneOf(rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1), 1e300, 1e-300}), rapid.Float64Range(.01, 100))
		serve := func() {
			for _, r := range p.Serve(now, nil) {
				if r.Refusal == nil {
					open = append(open, r.Grant.Lease)
				}
			}
		}
		check := func() {
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			for _, s := range p.servers {
				if left := s.workLeft(now, s.Load(now), p.sizes.meanWork()); !(left >= 0 && left < 1e9) {
					t.Fatalf("server %s has %v left", s.spec.ID, left)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				req := Request{Edge: "e", Size: size.Draw(t, "size")}
				if g, err := p.Pick(now, &req); err == nil {
					open = append(open, g.Lease)
				} else if id, _, refusal := p.Join(now, &req); refusal == nil {
					waiting = append(waiting, id)
				}
			case 2, 3:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
					p.Done(now, open[i], Outcome{Result: Result(rapid.IntRange(0, int(Results)-1).Draw(t, "result")), Duration: time.Duration(rapid.IntRange(1, 1000).Draw(t, "took")) * time.Millisecond})
					open = append(open[:i], open[i+1:]...)
				}
			default:
				if len(waiting) > 0 {
					p.Leave(waiting[0])
					waiting = waiting[1:]
				}
			}
			serve()
			check()
		}
		for p.Open()+p.Waiting() > 0 {
			now = now.Add(100 * time.Millisecond)
			for _, id := range open {
				p.Done(now, id, Outcome{Duration: 100 * time.Millisecond})
			}
			open = open[:0]
			serve()
			p.Expire(now)
			check()
		}
		for _, s := range p.servers {
			if w := s.work; w != nil && (w.count != 0 || w.sum != 0 || w.began != 0 || w.stress != 0 || w.awaited > 1e-9) {
				t.Fatalf("server %s has %+v when all is over", s.spec.ID, *w)
			}
		}
	})
}

// unitScore is the number of requests for the weight, as an edge could calculate it.
type unitScore struct{}

func (unitScore) Score(now Instant, s *Server) float64 { return (s.Load(now) + 1) / s.Weight() }
func (unitScore) EdgesMayChoose()                      {}

// TestSizesThatSayNothingChangeNothing: where all sizes are equal, or tell nothing, each request goes where it would go without.
func TestSizesThatSayNothingChangeNothing(t *testing.T) {
	run := func(size float64) (chosen []ServerID) {
		p := New(Config{Name: "web", QueueSize: 100}, ByScore{unitScore{}}, 3)
		for i := range 12 {
			if err := p.Put(sec, ServerSpec{ID: ServerID(rune('a' + i)), Address: "127.0.0.1:1", Slots: float64(1 + i%3)}, true); err != nil {
				t.Fatal(err)
			}
		}
		rng, now := rand.New(rand.NewPCG(1, 2)), sec.Add(time.Minute)
		var open []LeaseID
		for range 3000 {
			now = now.Add(time.Duration(rng.IntN(10)) * time.Millisecond)
			if len(open) > 15 {
				i := rng.IntN(len(open))
				p.Done(now, open[i], Outcome{Duration: time.Duration(rng.IntN(200)+1) * time.Millisecond})
				open = append(open[:i], open[i+1:]...)
			}
			g, err := p.Pick(now, &Request{Edge: "e", Size: size})
			if err != nil {
				t.Fatal(err)
			}
			open, chosen = append(open, g.Lease), append(chosen, g.Server)
		}
		return chosen
	}
	without := run(0)
	for i, got := range run(7) {
		if got != without[i] {
			t.Fatalf("request %d with a size that all have goes to %s, without it to %s", i, got, without[i])
		}
	}
}

// TestHeldLeasesCountTheirWork: a new master knows the work of the leases that it is told of, also of those that came before it has learnt what sizes say; of an
// old one less is left.
func TestHeldLeasesCountTheirWork(t *testing.T) {
	for name, before := range map[string]bool{"after sizes say something": false, "before": true} {
		p, slow, fast, now := weighed(t)
		learnt := p.sizes
		if before {
			p.sizes = sizes{}
		}
		for i, h := range []Held{{Server: "slow", Size: 8}, {Server: "fast", Size: 8, Age: 100 * time.Millisecond}} {
			h.Lease, h.Class = LeaseID(1<<60+i), "film"
			if err := p.Hold(now, "e", &h); err != nil {
				t.Fatal(err)
			}
		}
		if before {
			p.sizes = learnt
			p.reweigh(now)
		}
		if got := slow.workLeft(now, 1, p.sizes.meanWork()); math.Abs(got-8) > 1e-9 {
			t.Errorf("%s: the slow server has %v left, want 8", name, got)
		}
		if got := fast.workLeft(now, 1, p.sizes.meanWork()); math.Abs(got-4) > 1e-9 {
			t.Errorf("%s: the fast server has %v left, want 4: it has worked on it for 100 ms", name, got)
		}
		if list := p.Classes(now); len(list) != 1 || list[0].Name != "film" {
			t.Errorf("%s: the classes are %+v, want film", name, list)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestSizesThatBeginToTellAreHeeded: leases that were opened before sizes said anything count their work from then on.
func TestSizesThatBeginToTellAreHeeded(t *testing.T) {
	p, slow, _, now := weighed(t)
	p.sizes = sizes{}
	if err := p.Hold(now, "e", &Held{Lease: 1 << 60, Server: "slow", Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		size := 1 << (i % 10)
		g, err := p.Pick(now, &Request{Edge: "e", Size: float64(size), Exclude: []ServerID{"slow"}})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Duration(size) * 10 * time.Millisecond)
		p.Done(now, g.Lease, Outcome{Duration: time.Duration(size) * 10 * time.Millisecond})
	}
	if l := p.ledger.find(1 << 60); !p.sizes.tell() || l.work < 100 || slow.work.sum != l.work {
		t.Errorf("the lease of a very large request counts as %v, want what its size tells (exponent %v)", l.work, p.sizes.exponent)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// TestNoServerCostsLessThanItsLeast: a server that the search leaves out by its least cost could not have been the lightest.
func TestNoServerCostsLessThanItsLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := New(Config{Name: "web"}, ByScore{unitScore{}}, 1), sec.Add(time.Minute)
		if err := p.Put(sec, ServerSpec{ID: "a", Address: "127.0.0.1:1", Slots: rapid.Float64Range(1, 5).Draw(t, "slots")}, true); err != nil {
			t.Fatal(err)
		}
		p.sizes = *regression(100, 1, func(_ *rand.Rand, log float64) float64 { return log }, math.Inf(1))
		s := p.servers[0]
		p.workPrice, p.perRatio = rapid.Float64Range(0, idlePrice).Draw(t, "price"), rapid.Float64Range(.1, 10).Draw(t, "per ratio")
		s.ratio, s.health.success = rapid.Float64Range(.1, 10).Draw(t, "ratio"), float32(rapid.Float64Range(.01, 1).Draw(t, "success"))
		for range rapid.IntRange(0, 8).Draw(t, "requests") {
			if _, err := p.Pick(now, &Request{Size: rapid.Float64Range(.01, 100).Draw(t, "size")}); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "ms")) * time.Millisecond)
		}
		work, with := rapid.Float64Range(.01, 100).Draw(t, "work"), p.prices()
		var e expense
		s.cost(now, work, &with, &e)
		if least := s.leastCost(work, &with); e.total < least*(1-1e-9) {
			t.Fatalf("work %v costs %+v, less than %v", work, e, least)
		}
	})
}
