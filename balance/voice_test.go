package balance

import (
	"math/rand/v2"
	"testing"
)

// A count that does not move with our requests is not taken for others', unless answers bear it out.
func TestCountsThatContradictTheLedgerLoseTheirVoice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name   string
		count  func(leases float64) float64
		slower float64 // logarithm of how much slower answers are, where with the claimed others it would be .5
		lost   bool
	}{
		{"ours alone", func(l float64) float64 { return l }, 0, false},
		{"and some on their way", func(l float64) float64 { return l - float64(rng.IntN(2)) }, 0, false},
		{"and others", func(l float64) float64 { return l + float64(rng.IntN(3)) }, 0, false},
		{"random", func(float64) float64 { return float64(rng.IntN(8)) }, 0, true},
		{"always the same", func(float64) float64 { return 8 }, 0, true},
		{"always the same, and slow", func(float64) float64 { return 8 }, .5, false},
		{"none", func(float64) float64 { return 0 }, 0, false},
	} {
		var v voice
		for range 200 {
			leases := float64(rng.IntN(7))
			v.report(c.count(leases), leases)
			v.answer(c.slower, .5)
		}
		if v.lost != c.lost {
			t.Errorf("%s: its voice is lost: %v, want %v", c.name, v.lost, c.lost)
		}
		for range 200 { // it counts again
			leases := float64(rng.IntN(7))
			v.report(leases, leases)
			v.answer(0, 0)
		}
		if v.lost {
			t.Errorf("%s: its voice does not come back", c.name)
		}
	}
}
