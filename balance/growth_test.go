package balance

import (
	"container/heap"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The exponent is that by which latencies grow, whichever server is fast and however many requests each has.
func TestGrowthIsThatOfLatencies(t *testing.T) {
	for _, want := range []float64{0, .3, .6, .9} {
		rng := rand.New(rand.NewPCG(1, uint64(100*want)))
		var (
			sum rise
			g   growth
		)
		const deviation = .8
		for server := range 10 {
			var k knee
			least := 1 + server*4 // the faster has more
			for range 1000 {
				n := float64(least + rng.IntN(20))
				k.observe(n, want*math.Log(n)-math.Log(float64(1+server))+deviation*rng.NormFloat64(), deviation*deviation, 64, 0, kneeEvery)
			}
			sum.xx += k.rise.xx
			sum.xy += k.rise.xy
		}
		g.conclude(sum, deviation*deviation)
		if math.Abs(g.exponent-want) > .12 {
			t.Errorf("exponent %.3f was learnt, want %.1f", g.exponent, want)
		}
	}
}

// Samples beyond the slots say nothing of what happens up to them.
func TestGrowthIsLearntUpToTheSlots(t *testing.T) {
	var k knee
	for range 10 * kneeEvery {
		for _, n := range []float64{1, 2, 4, 8, 16} {
			k.observe(n, math.Log(max(1, n/4)), .1, 4, 0, kneeEvery)
		}
	}
	if k.rise.xx == 0 || math.Abs(k.rise.xy) > 1e-6*k.rise.xx {
		t.Errorf("%+v of latencies that are level up to 4 slots, want sums of squares and no slope", k.rise)
	}
	if got := (&knee{}).riseTo(4); got != (rise{}) {
		t.Errorf("%+v of no sample, want nothing", got)
	}
}

func TestGrowthBetweenNumbers(t *testing.T) {
	var g growth
	if g.at(10) != 1 {
		t.Error("latencies grow before anything is learnt")
	}
	if !g.conclude(rise{xx: 1e6, xy: .5e6}, 1) {
		t.Fatal("an exponent of a half is no change")
	}
	for _, n := range []float64{0, .4, 1, 1.5, 7.25, 40, 64, 64.5, 300} {
		want := math.Pow(max(1, n), g.exponent)
		if got := g.at(n); math.Abs(got-want) > .03*want {
			t.Errorf("%.3f times as long where %v are, want %.3f", got, n, want)
		}
	}
	if g.conclude(rise{xx: 1e6, xy: .502e6}, 1) {
		t.Error("next to the same exponent is a change")
	}
	if !g.conclude(rise{}, 1) || g.exponent != 0 {
		t.Errorf("exponent %v where nothing is known, want none", g.exponent)
	}
	if !g.conclude(rise{xx: 1e6, xy: 5e6}, 1) || g.exponent != growthMost {
		t.Errorf("exponent %v, want %v at most", g.exponent, growthMost)
	}
}

// station is servers whose requests take a time by how many there are, for a pool that has a queue.
type station struct {
	t       *testing.T
	p       *Pool
	rng     *rand.Rand
	now     Instant
	latency func(s ServerID, n int) float64
	trip    time.Duration
	n       map[ServerID]int
	ends    stationEnds
	waiting map[WaitID]bool
	refused int
}

type stationEnd struct {
	at     Instant
	lease  LeaseID
	server ServerID
	took   time.Duration
}

type stationEnds []stationEnd

func (h stationEnds) Len() int           { return len(h) }
func (h stationEnds) Less(i, j int) bool { return h[i].at < h[j].at }
func (h stationEnds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *stationEnds) Push(x any)        { *h = append(*h, x.(stationEnd)) }
func (h *stationEnds) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// serve has requests come at random, on average one in each gap.
func (s *station) serve(requests int, gap time.Duration) {
	s.t.Helper()
	s.n, s.waiting, s.rng = map[ServerID]int{}, map[WaitID]bool{}, rand.New(rand.NewPCG(7, 7))
	next := s.now
	for requests > 0 || len(s.ends) > 0 {
		if len(s.ends) > 0 && (requests == 0 || s.ends[0].at <= next) {
			e := heap.Pop(&s.ends).(stationEnd)
			s.now = e.at
			s.n[e.server]--
			s.p.Done(s.now, e.lease, Outcome{Duration: e.took})
		} else {
			s.now = next
			requests--
			next = s.now.Add(time.Duration(s.rng.ExpFloat64() * float64(gap)))
			s.ask()
		}
		for _, r := range s.p.Serve(s.now, nil) {
			if r.Refusal == nil {
				s.begin(r.Grant)
			} else {
				s.refused++
			}
		}
		s.p.Expire(s.now)
		if err := s.p.Check(); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *station) ask() {
	req := Request{Edge: "e"}
	g, err := s.p.Pick(s.now, &req)
	var refusal *Refusal
	switch {
	case err == nil:
		s.begin(g)
	case errors.As(err, &refusal) && refusal.Reason == Saturated:
		if _, _, refusal = s.p.Join(s.now, &req); refusal == nil {
			return
		}
		fallthrough
	default:
		s.refused++
	}
}

func (s *station) begin(g Grant) {
	s.n[g.Server]++
	took := time.Duration(s.latency(g.Server, s.n[g.Server]) * 1e9)
	heap.Push(&s.ends, stationEnd{s.now.Add(took + s.trip), g.Lease, ServerID(string([]byte(g.Server))), took})
}

func newStation(t *testing.T, slots float64, latency func(s ServerID, n int) float64) *station {
	t.Helper()
	p := New(Config{Name: "p", QueueSize: 1000}, ByScore{leastOf{}}, 1)
	for _, id := range []ServerID{"a", "b", "c"} {
		if err := p.Put(second, ServerSpec{ID: id, Address: "127.0.0.1:80", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	return &station{t: t, p: p, now: second.Add(time.Minute), latency: latency}
}

// leastOf prefers the server with the fewest requests for its slots.
type leastOf struct{}

func (leastOf) Score(now Instant, s *Server) float64 {
	c, _ := s.Slots()
	return (s.Load(now) + 1) / c
}

// noise has a mean of 1.
func noise(rng *rand.Rand) float64 { return math.Exp(.5*rng.NormFloat64() - .125) }

// Declared slots that latencies rule out are not believed, and that is told.
func TestLatenciesRefuteDeclaredSlots(t *testing.T) {
	for _, c := range []struct {
		declared, slots, load float64
		refuted               bool
	}{{40, 4, .9, true}, {1, 8, .8, true}, {4, 4, .75, false}, {4, 4, .95, false}, {8, 8, .75, false}, {6, 4, .75, false}, {3, 4, .7, false}} {
		rng := rand.New(rand.NewPCG(1, 1))
		s := newStation(t, c.declared, func(_ ServerID, n int) float64 { return .1 * max(1, float64(n)/c.slots) * noise(rng) })
		s.serve(20_000, time.Duration(.1/c.load/3/c.slots*1e9))
		for _, v := range s.p.Views(s.now) {
			if (v.Doubt.What == DoubtedSlots) != c.refuted {
				t.Errorf("%v slots are declared, latencies are as of %v: doubt %q, want one: %t", c.declared, c.slots, v.Doubt, c.refuted)
			}
			if c.refuted && (v.Slots < c.slots/2 || v.Slots > 2*c.slots) || !c.refuted && v.Slots != c.declared {
				t.Errorf("%v slots are declared, latencies are as of %v: %v are believed", c.declared, c.slots, v.Slots)
			}
		}
		if s.refused > 200 {
			t.Errorf("%v slots are declared, latencies are as of %v: %d requests of 20,000 were refused, at %v of what the servers can do", c.declared, c.slots, s.refused, c.load)
		}
	}
}

// The trip is what a lease lasts longer than its edge says, most often.
func TestTripIsMeasured(t *testing.T) {
	for _, trip := range []time.Duration{20 * time.Microsecond, 2 * time.Millisecond, 30 * time.Millisecond} {
		rng := rand.New(rand.NewPCG(1, 1))
		s := newStation(t, 4, func(ServerID, int) float64 { return .1 * noise(rng) })
		s.trip = trip
		s.serve(2000, 20*time.Millisecond)
		if got, want := s.p.trip.seconds, trip.Seconds(); got < want/1.1 || got > want*1.1 {
			t.Errorf("a trip of %.2g s was measured, want %.2g", got, want)
		}
	}
	var seen trip
	seen.begin(time.Millisecond)
	for i := range 1000 {
		seen.observe(.005)
		if i%5 == 0 {
			seen.observe(60) // an edge that stood still
		}
	}
	if seen.seconds < .0045 || seen.seconds > .006 {
		t.Errorf("a trip of %.3g s was measured where one word of six came late, want 0.005", seen.seconds)
	}
	if seen.begin(time.Second); seen.seconds > .01 {
		t.Error("what is told of the trip counts though it has been seen")
	}
}
