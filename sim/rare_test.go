package sim

import (
	"testing"
	"time"
)

// Servers of two speeds are told apart also where each gives an answer only every third of a second. Five seconds of
// such answers tell nothing.
func TestSpeedsAreLearntFromRareAnswers(t *testing.T) {
	s := Scenario{Requests: 20_000, Warmup: .3, Load: .5, Blind: true, Servers: Servers{Count: 24, Kinds: []Kind{{Of: 2, Slots: 1}, {Of: 1, Slots: 1, Speed: 2}}}, Work: Work{Mean: 200 * time.Millisecond}}
	for seed := range uint64(3) {
		if r := Run(s, "least-load", seed); r.Mean > .15 {
			t.Errorf("seed %d: mean %.4f, want .15 at most: .135 where the speeds are known, .162 where they are not", seed, r.Mean)
		}
	}
}
