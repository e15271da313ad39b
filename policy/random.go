package policy

import (
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Random takes any server, as often as its declared weight says.
type Random struct{}

// Choose draws by weight.
func (Random) Choose(_ balance.Instant, _ *balance.Request, candidates []*balance.Server, rng *rand.Rand) int {
	return draw(candidates, rng)
}

// declared is the weight that people gave a server. Policies that promise a fixed order
// or a fixed place keep to it, rather than to what the master learns meanwhile.
func declared(s *balance.Server) float64 {
	return max(1, s.Spec().Slots) * s.Speed()
}

// draw returns an index with a chance in proportion to the declared weight.
func draw(candidates []*balance.Server, rng *rand.Rand) int {
	total := 0.
	for _, s := range candidates {
		total += declared(s)
	}
	at := rng.Float64() * total
	for i, s := range candidates {
		if at -= declared(s); at < 0 {
			return i
		}
	}
	return len(candidates) - 1 // rounding ate the last bit of the total
}
