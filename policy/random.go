package policy

import (
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Random takes any server, as often as its weight says.
type Random struct{}

// Choose draws by weight.
func (Random) Choose(_ balance.Instant, _ *balance.Request, candidates []*balance.Server, rng *rand.Rand) int {
	return draw(candidates, rng)
}

// draw returns an index with a chance in proportion to the server's weight.
func draw(candidates []*balance.Server, rng *rand.Rand) int {
	total := 0.
	for _, s := range candidates {
		total += s.Weight()
	}
	at := rng.Float64() * total
	for i, s := range candidates {
		if at -= s.Weight(); at < 0 {
			return i
		}
	}
	return len(candidates) - 1 // rounding ate the last bit of the total
}
