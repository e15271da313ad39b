package balance

import (
	"math"
	"testing"
)

// What edges lose that spread requests over all servers by their capacities: half of the slots are four times as fast, and as long as these are enough
// the master uses no other.
func TestWhatSpreadingOverSlowServersCosts(t *testing.T) {
	var equal, mixed localTotals
	equal.slots, equal.paces[paceOf(1)] = 20, 20
	mixed.slots, mixed.paces[paceOf(1)], mixed.paces[paceOf(4)] = 20, 10, 10
	for _, c := range []struct {
		name       string
		totals     *localTotals
		busy, want float64
	}{
		{"equal servers", &equal, .5, 0},
		{"few requests", &mixed, .4, 20/12.5 - 1},
		{"as many as the fast ones do", &mixed, .8, 20/12.5 - 1},
		{"more", &mixed, .9, 20/12.5 - (10+1.25*4)/11.25},
		{"all that they can do", &mixed, 1, 0},
		{"none", &mixed, 0, 0},
	} {
		if got := c.totals.slower(c.busy); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %.4f times b longer, want %.4f", c.name, got, c.want)
		}
	}
	if paceOf(1e-9) != 0 || paceOf(1e9) != localPaces-1 {
		t.Error("a server far from the pool's b has no step")
	}
}
