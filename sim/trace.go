package sim

import (
	"math"
	"math/rand/v2"
	"sort"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// arrival is one request as the world gives it: nobody's choice is in it, so all
// policies and the ideal meet the same.
type arrival struct {
	at     balance.Instant
	work   float64 // seconds at speed 1, before any cache
	edge   int32   // -1: direct
	server int32   // of a direct one
	key    int32   // -1: none
	tenant int32
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
	gap := t.gap
	if t.shape.Shape == "step" && t.at >= t.shape.At.Seconds() && t.at < (t.shape.At+t.shape.For).Seconds() {
		gap /= t.shape.High
	}
	t.at += t.rng.ExpFloat64() * gap
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
	if t.keys != nil {
		a.key = int32(pick(t.keys, t.rng))
	}
	return a, true
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
