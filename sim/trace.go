package sim

import (
	"math"
	"math/rand/v2"
	"sort"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// arrival is one request as it comes from a client: no policy influences it, so all
// policies and the ideal meet the same.
type arrival struct {
	at     balance.Instant
	work   float64 // seconds at speed 1, before any cache
	size   float64 // as it is told; zero: it is not
	edge   int32   // -1: direct
	server int32   // of a direct one
	key    int32   // -1: none
	tenant int32
	class  int32 // -1: none
}

// trace draws the arrivals of a scenario, one after the other.
type trace struct {
	rng     *rand.Rand
	left    int
	at      float64 // seconds
	gap     float64 // mean, seconds
	draw    func() float64
	edges   int32
	turn    int32 // next edge in round-robin; -1: random
	direct  float64
	targets []float64 // of direct requests: cumulative weights
	tenants []float64 // cumulative shares
	keys    []float64 // cumulative shares
	works   []float64 // of a tenant's request, over the scenario's
	shape   Arrivals
	state   twoStates // of shape mmpp
	sizes   sizeTeller
	classes struct {
		rng    *rand.Rand
		shares []float64 // cumulative
		works  []float64 // of a request, over the mean
	}
}

// twoStates is which state of mmpp holds, and until when.
type twoStates struct {
	rng   *rand.Rand
	high  bool
	until float64 // seconds
}

// start lies after zero, which stands for never.
const start = balance.Instant(1)

func newTrace(s *Scenario, fleet []Kind, seed uint64) *trace {
	rng := rand.New(rand.NewPCG(seed, 0x7472616365))
	t := &trace{
		rng: rng, left: s.Requests, edges: int32(s.Edges), turn: -1,
		gap:    s.gap(fleet),
		draw:   s.Work.sampler(rng),
		direct: s.Direct.Share,
		keys:   zipf(s.Affinity.Keys, s.Affinity.Zipf),
		shape:  s.Arrivals,
	}
	t.sizes = sizeTeller{s.Size, rand.New(rand.NewPCG(seed, 0x73697a65))}
	t.setClasses(s.Classes, seed)
	if s.Arrivals.Shape == "mmpp" {
		t.state = twoStates{rng: rand.New(rand.NewPCG(seed, 0x6d6d7070)), high: true} // the other state is the first
	}
	if s.Spread == "round-robin" {
		t.turn = 0
	}
	sum := 0.
	for _, k := range fleet[:s.Direct.Servers] {
		sum += k.weight()
		t.targets = append(t.targets, sum)
	}
	sum = 0
	for _, tenant := range s.Tenants {
		sum += tenant.Load / tenant.Work
		t.works = append(t.works, tenant.Work)
		t.tenants = append(t.tenants, sum)
	}
	return t
}

// setClasses prepares drawing the class of each request.
func (t *trace) setClasses(classes []Class, seed uint64) {
	shares, work := 0., 0.
	for _, c := range classes {
		shares += c.Share
		work += c.Share * c.Work
		t.classes.shares = append(t.classes.shares, shares)
	}
	for _, c := range classes {
		t.classes.works = append(t.classes.works, c.Work*shares/work)
	}
	t.classes.rng = rand.New(rand.NewPCG(seed, 0x636c617373))
}

// gap is the mean time between two arrivals, in seconds.
func (s *Scenario) gap(fleet []Kind) float64 {
	load, requests := s.Load, 0.
	for _, t := range s.Tenants {
		requests += t.Load / t.Work
	}
	if len(s.Tenants) > 0 {
		load = requests
	}
	return s.Work.Mean.Seconds() / (load * s.capacity(fleet))
}

// next returns the next arrival; ok is false after the last.
func (t *trace) next() (a arrival, ok bool) {
	if t.left == 0 {
		return a, false
	}
	t.left--
	t.pass()
	a = arrival{at: start + balance.Instant(t.at*1e9), work: t.draw(), key: -1}
	switch {
	case t.direct > 0 && t.rng.Float64() < t.direct:
		a.edge, a.server = -1, int32(pick(t.targets, t.rng))
	case t.turn >= 0:
		a.edge = t.turn
		t.turn = (t.turn + 1) % t.edges
	default:
		a.edge = t.rng.Int32N(t.edges)
	}
	if t.tenants != nil {
		a.tenant = int32(pick(t.tenants, t.rng))
		a.work *= t.works[a.tenant]
	}
	if a.class = -1; t.classes.shares != nil {
		a.class = int32(pick(t.classes.shares, t.classes.rng))
		a.work *= t.classes.works[a.class]
	}
	a.size = t.sizes.told(a.work)
	if t.keys != nil {
		a.key = int32(pick(t.keys, t.rng))
	}
	return a, true
}

// pass lets the time until the next arrival go by.
func (t *trace) pass() {
	gap, a := t.gap, &t.shape
	switch a.Shape {
	case "step":
		if t.at >= a.At.Seconds() && t.at < (a.At+a.For).Seconds() {
			gap /= a.High
		}
	case "sine":
		gap /= 1 + (a.High-1)*math.Sin(2*math.Pi*t.at/a.For.Seconds())
	case batch:
		return
	case "mmpp":
		t.passStates()
		return
	}
	t.at += t.rng.ExpFloat64() * gap
}

// passStates is pass where two states take turns: what was drawn under one does not count under the other, as
// exponential times do not remember.
func (t *trace) passStates() {
	for {
		gap := t.gap
		if t.state.high && t.state.until > 0 {
			gap /= t.shape.High
		}
		gap *= t.rng.ExpFloat64()
		if t.at+gap < t.state.until {
			t.at += gap
			return
		}
		t.at = t.state.until
		t.state.high = !t.state.high
		stay := t.shape.After
		if t.state.high {
			stay = t.shape.For
		}
		t.state.until += t.state.rng.ExpFloat64() * stay.Seconds()
	}
}

// pick draws an index from cumulative shares.
func pick(cumulative []float64, rng *rand.Rand) int {
	at := rng.Float64() * cumulative[len(cumulative)-1]
	return min(sort.SearchFloat64s(cumulative, at), len(cumulative)-1)
}

func zipf(keys int, exponent float64) []float64 {
	if keys == 0 {
		return nil
	}
	cumulative := make([]float64, keys)
	sum := 0.
	for i := range cumulative {
		sum += math.Pow(float64(i+1), -exponent)
		cumulative[i] = sum
	}
	return cumulative
}

// sampler returns what draws the work of one request, in seconds.
func (w Work) sampler(rng *rand.Rand) func() float64 {
	mean := w.Mean.Seconds()
	switch w.Distribution {
	case "constant":
		return func() float64 { return mean }
	case "lognormal":
		mu := math.Log(mean) - w.Sigma*w.Sigma/2
		return func() float64 { return math.Exp(mu + w.Sigma*rng.NormFloat64()) }
	case "bimodal":
		short := mean / (1 - w.Share + w.Share*w.Ratio)
		return func() float64 {
			if rng.Float64() < w.Share {
				return short * w.Ratio
			}
			return short
		}
	case "pareto":
		low := mean / boundedParetoMean(w.Alpha, w.Ratio)
		cut := 1 - math.Pow(w.Ratio, -w.Alpha)
		return func() float64 { return low * math.Pow(1-rng.Float64()*cut, -1/w.Alpha) }
	}
	return func() float64 { return rng.ExpFloat64() * mean }
}

// boundedParetoMean is the mean of a Pareto law from 1 to ratio.
func boundedParetoMean(alpha, ratio float64) float64 {
	cut := 1 - math.Pow(ratio, -alpha)
	if alpha == 1 {
		return math.Log(ratio) / cut
	}
	return alpha / (alpha - 1) * (1 - math.Pow(ratio, 1-alpha)) / cut
}
