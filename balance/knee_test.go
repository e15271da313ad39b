package balance

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Whatever the number of slots, latencies that are level up to it and rise beyond show
// it, to the next smaller size that is told apart.
func TestKneeIsFound(t *testing.T) {
	for _, c := range []float64{1, 2, 4, 8, 16} {
		rng := rand.New(rand.NewPCG(uint64(c), 1))
		var k knee
		const deviation = .8
		for range 4000 {
			n := 1 + float64(rng.IntN(int(3*c)))
			k.observe(n, math.Log(.1*max(1, n/c))+deviation*rng.NormFloat64(), deviation*deviation, c, 0)
		}
		if k.c < c/2 || k.c > 1.5*c {
			t.Errorf("%v slots were taken for %v", c, k.c)
		}
	}
}

func TestKneeOfAnIdleServerIsSmall(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var k knee
	for range 200 {
		k.observe(1, rng.NormFloat64(), 1, 1, 0)
	}
	if k.c != 1 {
		t.Errorf("a server that never had two requests is thought to have %v slots, want the safe 1", k.c)
	}
}
