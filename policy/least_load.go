package policy

import "github.com/evenkeel-lb/evenkeel/balance"

// LeastLoad takes the server with the lowest score: the time the request would
// take there, and the time it would cost the requests that are there already.
type LeastLoad struct{}

// A server within its slots works each request as if alone, but for a slight slope
// that prefers the emptier of two. Beyond its slots each request delays all others,
// and phi charges for them: equalising only one's own delay drifts to the selfish
// equilibrium, which is up to twice as slow.
const (
	phi   = 2.5
	slope = .03
	slack = .3 // a load estimate may be this much over the slots and still count as within
)

// EdgesMayChoose implements balance.EdgeScorer.
func (LeastLoad) EdgesMayChoose() {}

// Score is b for a request alone at the server, in b's unit.
func (LeastLoad) Score(now balance.Instant, s *balance.Server) float64 {
	var (
		n        = s.Load(now)
		b        = s.Service()
		c, known = s.Slots()
		sr       = s.Success()
		cost     float64
	)
	switch {
	case !known:
		cost = b * (n + .5) / c
	case n+1 <= c+slack:
		cost = b * (1 + slope*n/c)
	default:
		cost = b * (phi*n + 1) / c
	}
	cost *= s.Growth(n + 1)
	if sr < 1 {
		cost /= sr * sr
	}
	return cost
}
