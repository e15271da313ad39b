package sim

import "testing"

// Pools over the same servers that count each server once do better than pools of which each sees its own requests alone, and hardly worse
// than one pool; whatever is shared, every pool's books are in order after each event.
func TestPoolsThatShareServersSeeEachOther(t *testing.T) {
	shared := scenario(t, "pools").WithDefaults()
	shared.Requests = 60_000
	blind := shared
	blind.Pools = blindPools
	for seed := range uint64(3) {
		a, b := Run(shared, "least-load", seed+1), Run(blind, "least-load", seed+1)
		t.Logf("seed %d: shared mean %.4g p99 %.4g, blind mean %.4g p99 %.4g", seed+1, a.Mean, a.P99, b.Mean, b.P99)
		if !(a.Mean < .9*b.Mean && a.P99 < .9*b.P99) {
			t.Errorf("seed %d: shared mean %.4g p99 %.4g, blind mean %.4g p99 %.4g; want both a tenth less at least", seed+1, a.Mean, a.P99, b.Mean, b.P99)
		}
	}
	shared.Requests = 2000
	w := newWorld(&shared, 1)
	w.choosing("least-load", 1)
	for w.pending || w.under > 0 {
		w.step()
		for _, p := range w.master.pools {
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
