package policy

import (
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// TwoChoices draws two servers by weight and takes the less loaded for its weight.
// It needs no look at the others, and two is nearly as good as all (Mitzenmacher 2000).
type TwoChoices struct{}

// Choose draws and compares.
func (TwoChoices) Choose(now balance.Instant, _ *balance.Request, candidates []*balance.Server, rng *rand.Rand) int {
	a, b := draw(candidates, rng), draw(candidates, rng)
	for range 3 { // two different ones, if chance allows
		if a != b {
			break
		}
		b = draw(candidates, rng)
	}
	if full(now, candidates[b]) < full(now, candidates[a]) {
		return b
	}
	return a
}

// full is how full the server would be with this request.
func full(now balance.Instant, s *balance.Server) float64 { return (s.Load(now) + 1) / s.Weight() }
