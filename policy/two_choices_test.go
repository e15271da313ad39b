package policy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// counts says how often each candidate is chosen, of n choices.
func counts(t *testing.T, p balance.Policy, n int, all ...given) []int {
	t.Helper()
	rng, seen := rand.New(rand.NewPCG(1, 2)), candidates(t, all...)
	count := make([]int, len(seen))
	for range n {
		count[p.Choose(lookedAt, &balance.Request{}, seen, rng)]++
	}
	return count
}

// Of two that are drawn the less loaded is taken: the least loaded of three is in two draws of three, the one between
// in a third of them beside the most loaded, and the most loaded never goes before another.
func TestTwoChoicesAreTwoOfAll(t *testing.T) {
	const n = 3000
	got := counts(t, policy.TwoChoices{}, n, given{server("most", 1, 0), 2, 0}, given{server("least", 1, 0), 0, 0}, given{server("between", 1, 0), 1, 0})
	if got[1] < n*6/10 || got[1] > n*3/4 || got[2] < n/4 || got[2] > n*4/10 {
		t.Errorf("the least loaded got %d and the next %d of %d, want two thirds and a third", got[1], got[2], n)
	}
	if got[0] > n/30 { // both draws are the same only where chance does not allow two different ones
		t.Errorf("the most loaded got %d of %d, want next to none", got[0], n)
	}
}

// Load is compared by what a server is good for.
func TestTwoChoicesWeighLoad(t *testing.T) {
	const n = 1000
	for name, c := range map[string][2]given{
		"more slots": {{server("large", 8, 0), 3, 0}, {server("small", 1, 0), 1, 0}},
		"faster":     {{server("large", 1, 8), 3, 0}, {server("small", 1, 0), 1, 0}},
	} {
		if got := counts(t, policy.TwoChoices{}, n, c[0], c[1]); got[0] < n*9/10 {
			t.Errorf("%s: with three requests it got %d of %d beside a small one with one, want nearly all", name, got[0], n)
		}
	}
}

// Requests go by lot where nothing tells servers apart, as often as the declared weights say.
func TestDrawsAreByWeight(t *testing.T) {
	const n = 8000
	got := counts(t, policy.Random{}, n, given{ServerSpec: server("a", 1, 0)}, given{ServerSpec: server("b", 2, 0)}, given{ServerSpec: server("c", 1, 4)}, given{ServerSpec: server("d", 0, 0)})
	for i, want := range []int{n / 8, n / 4, n / 2, n / 8} {
		if got[i] < want*9/10 || got[i] > want*11/10 {
			t.Errorf("server %d was drawn %d times of %d, want about %d", i, got[i], n, want)
		}
	}
}
