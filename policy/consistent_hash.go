package policy

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// ConsistentHash gives equal keys to the same server, as far as none has more than
// its share: rendezvous hashing by weight with bounded loads. When a server comes or
// goes only its own keys move. Requests without a key go to any server.
type ConsistentHash struct{}

// bound is how far above its share of the load a server may be.
const bound = 1.25

// Choose takes the highest draw for the key among those under the bound.
func (ConsistentHash) Choose(_ balance.Instant, req *balance.Request, candidates []*balance.Server, rng *rand.Rand) int {
	if req.Key == "" {
		return draw(candidates, rng)
	}
	leases, weight := 1., 0.
	for _, s := range candidates {
		leases += float64(s.Leases())
		weight += declared(s)
	}
	best, highest := -1, math.Inf(-1)
	for i, s := range candidates {
		if float64(s.Leases()) >= math.Ceil(bound*leases*declared(s)/weight) {
			continue
		}
		if lot := lot(req.Key, s.ID(), declared(s)); lot > highest {
			best, highest = i, lot
		}
	}
	if best < 0 {
		return draw(candidates, rng) // cannot be: not all can be above their share
	}
	return best
}

// lot is the server's draw for the key: an exponential of the weight, so that each
// wins as often as its weight says.
func lot(key string, id balance.ServerID, weight float64) float64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(id))
	x := h.Sum64() // fnv's high bits move little with the last bytes; stir them
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return -weight / math.Log((float64(x>>11)+.5)/(1<<53))
}
