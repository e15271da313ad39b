package balance

import (
	"math"
	"testing"
	"time"
)

// limits is a pool with one server, of whose requests is known how long they take.
func limits(t *testing.T, cfg Config, slots float64) (*Pool, *Server) {
	t.Helper()
	cfg.Name = "web"
	p := New(cfg, firstOf{}, 1)
	if err := p.Put(sec, ServerSpec{ID: "a", Address: "127.0.0.1:1", Slots: slots}, true); err != nil {
		t.Fatal(err)
	}
	return p, p.servers[0]
}

// takes has requests take so long alone, and word between edge and master.
func (p *Pool) takes(mean, trip time.Duration) {
	p.times.weight, p.times.usual, p.times.spread = 1, mean.Seconds(), 1
	p.trip.seconds = trip.Seconds()
}

func TestLimitOfAServer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		slots float64 // declared
		with  func(*Pool, *Server)
		want  float64
	}{
		{"nothing learnt", 4, nil, 4},
		{"slots not known", 0, nil, math.Inf(1)},
		{"no queue", 4, func(p *Pool, _ *Server) { p.queue.size = 0 }, math.Inf(1)},
		{"learnt a little over", 4, func(_ *Pool, s *Server) { s.capacity.slots = 4.2 }, 4},
		{"learnt more than a little over", 4, func(_ *Pool, s *Server) { s.capacity.slots = 4.4 }, 5},
		{"one slot, near", 1, func(p *Pool, _ *Server) { p.takes(100*ms, ms) }, 1},
		{"two slots, near", 2, func(p *Pool, _ *Server) { p.takes(100*ms, 3*ms) }, 2},
		{"two slots, a trip that leaves one idle for long", 2, func(p *Pool, _ *Server) { p.takes(100*ms, 5*ms) }, 3},
		{"many slots get enough ahead", 8, func(p *Pool, _ *Server) { p.takes(100*ms, 10*ms) }, 8 + 2},
		{"many slots, a trip that leaves a tenth of one idle", 8, func(p *Pool, _ *Server) { p.takes(1000*ms, 5*ms) }, 8},
		{"half of the work is left where the key is known", 4, func(p *Pool, _ *Server) { p.cfg.Affinity.Hit = .5 }, 4 * (1 + keyedWait/.5)},
		{"what was told is refuted", 8, func(_ *Pool, s *Server) { s.capacity.refuted, s.capacity.slots = true, 2 }, 8},
		{"refuted, and there are more", 8, func(_ *Pool, s *Server) { s.capacity.refuted, s.capacity.slots = true, 12 }, 12},
		{"tried with more", 4, func(_ *Pool, s *Server) { s.stretch = 1.7 }, 5},
		{"one bound ahead, as long waits are worth it", 2, func(p *Pool, _ *Server) {
			p.takes(100*ms, ms)
			p.queue.length, p.perWaiting = 10, .05
		}, 3},
		{"none bound ahead where the trip is next to nothing", 2, func(p *Pool, _ *Server) {
			p.takes(100*ms, 10*time.Microsecond)
			p.queue.length, p.perWaiting = 10, .05
		}, 2},
		{"none bound ahead where the wait is shorter than a request", 2, func(p *Pool, _ *Server) {
			p.takes(100*ms, 3*ms)
			p.queue.length, p.perWaiting = 1, .09
		}, 2},
	} {
		p, s := limits(t, Config{QueueSize: 10}, c.slots)
		if c.with != nil {
			c.with(p, s)
		}
		if p.bound(s); float64(s.limit) != c.want {
			t.Errorf("%s: limit %v, want %v", c.name, s.limit, c.want)
		}
	}
}

// What others keep at a server is taken off its limit, as far as it is more than an error of the estimate.
func TestOthersRequestsLowerTheCeiling(t *testing.T) {
	for _, c := range []struct {
		name string
		x    float64
		with func(*Pool, *Server)
		want float64
	}{
		{"none", 0, nil, 4},
		{"an error", loadError, nil, 4},
		{"two and the error", 2 + loadError, nil, 2},
		{"others fill nearly the whole pool", 3, func(p *Pool, _ *Server) { p.crowdedOut = true }, 4},
		{"another server has no limit", 3, func(p *Pool, _ *Server) { p.loose = true }, math.Inf(1)},
		{"none of ours is there, and it is time to try", 3, func(_ *Pool, s *Server) { s.leases, s.probe = 0, 0 }, 4},
	} {
		p, s := limits(t, Config{QueueSize: 10}, 4)
		s.leases, s.load = 1, external{x: c.x, reported: sec, interval: time.Second}
		s.probe = forever
		if c.with != nil {
			c.with(p, s)
		}
		if got := p.ceiling(sec, s); !isNear(got, c.want) && got != c.want {
			t.Errorf("%s: %v leases at most, want %v", c.name, got, c.want)
		}
	}
}

// Where a server has room: below its limit, its cap and its hold, and what warming up allows.
func TestWhereThereIsRoom(t *testing.T) {
	const warm = 100 * sec
	for _, c := range []struct {
		name        string
		leases      int32
		with        func(*Pool, *Server)
		room, below bool
	}{
		{"one left", 3, nil, true, true},
		{"none left", 4, nil, false, false},
		{"no limit counts", 4, func(p *Pool, _ *Server) { p.loose = true }, true, true},
		{"at its cap", 3, func(_ *Pool, s *Server) { s.cap = 3 }, false, false},
		{"below its cap", 2, func(_ *Pool, s *Server) { s.cap = 3 }, true, true},
		{"held to what it has", 3, func(_ *Pool, s *Server) {
			s.isHeld, s.held = true, hold{why: heldForFull, most: 3, until: warm + 1}
		}, false, false},
		{"held to one more", 3, func(_ *Pool, s *Server) {
			s.isHeld, s.held = true, hold{why: heldForFull, most: 4, until: warm + 1}
		}, true, true},
		{"others are there", 2, func(_ *Pool, s *Server) {
			s.load = external{x: 2 + loadError, reported: warm, interval: time.Second}
		}, false, false},
		{"fewer others are there", 1, func(_ *Pool, s *Server) {
			s.load = external{x: 2 + loadError, reported: warm, interval: time.Second}
		}, true, true},
		{"it is new and has more than it has proven", 2, func(p *Pool, s *Server) {
			p.warm(s, warm)
			p.mean = 10
		}, false, true},
		{"it is new and has none", 0, func(p *Pool, s *Server) {
			p.warm(s, warm)
			p.mean = 10
		}, true, true},
	} {
		p, s := limits(t, Config{QueueSize: 10}, 4)
		s.leases = c.leases
		if c.with != nil {
			c.with(p, s)
		}
		if room, below := p.hasRoom(warm, s), p.belowLimit(warm, s); room != c.room || below != c.below {
			t.Errorf("%s: room %t, and but for warming up %t; want %t and %t", c.name, room, below, c.room, c.below)
		}
	}
}

// While requests wait, a server whose latencies leave it open that it has more slots gets more, little by little, and what they rule out
// is taken back.
func TestLimitsAreProbed(t *testing.T) {
	open := func(s *Server) { s.knee = &knee{bend: bend{c: 4, most: 8}} }
	ruledOut := func(s *Server) {
		s.knee = &knee{bend: bend{c: 1, most: 1}}
		s.stretch = 2
	}
	for _, c := range []struct {
		name    string
		with    func(*Pool, *Server)
		stretch float64
	}{
		{"requests wait", func(p *Pool, s *Server) { open(s); p.queue.length = 1 }, 1. / probeSteps},
		{"they wait for long", func(p *Pool, s *Server) {
			open(s)
			p.queue.length, p.perWaiting = 2, .1*probeWait // two requests' times for each
		}, 3. / probeSteps},
		{"they wait for ever", func(p *Pool, s *Server) { open(s); p.queue.length, p.perWaiting = 1000, .01 }, 1},
		{"none waits", func(_ *Pool, s *Server) { open(s) }, 0},
		{"none waits, and latencies rule it out", func(_ *Pool, s *Server) { ruledOut(s) }, 2 - 1./4},
		{"requests wait, and latencies rule it out", func(p *Pool, s *Server) { ruledOut(s); p.queue.length = 1 }, 2 - 1./4},
		{"there is no queue", func(p *Pool, s *Server) { open(s); p.queue.length, p.queue.size = 1, 0 }, 0},
		{"nothing is learnt", func(p *Pool, s *Server) { open(s); p.queue.length, p.times.weight = 1, 0 }, 0},
		{"its slots are a guess", func(p *Pool, s *Server) { open(s); p.queue.length, s.capacity.firm = 1, false }, 0},
		{"the application tells its slots", func(p *Pool, s *Server) {
			open(s)
			p.queue.length, s.evidence = 1, &evidence{slots: slots{learnt: 4}}
		}, 0},
		{"the CPU tells its slots", func(p *Pool, s *Server) {
			open(s)
			p.queue.length, s.evidence = 1, &evidence{slots: slots{learnt: 4, vague: true}}
		}, 1. / probeSteps},
	} {
		p, s := limits(t, Config{QueueSize: 10}, 4)
		p.takes(100*time.Millisecond, time.Microsecond)
		p.bound(s)
		c.with(p, s)
		if p.probe(s); !isNear(s.stretch, c.stretch) {
			t.Errorf("%s: stretched by %v, want %v", c.name, s.stretch, c.stretch)
		}
		if limit := s.limit; c.stretch >= 1 && float64(limit) != 4+math.Floor(c.stretch) {
			t.Errorf("%s: limit %v, want %v", c.name, limit, 4+math.Floor(c.stretch))
		}
	}
}
