package client

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestLeasesAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set leases
		model := make(map[balance.LeaseID]balance.Instant)
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			id := balance.LeaseID(rapid.Uint64Range(0, 60).Draw(t, "id"))
			if rapid.Bool().Draw(t, "far") {
				id <<= 40
			}
			if rapid.Bool().Draw(t, "put") && id != 0 {
				set.put(openLease{id: id, since: balance.Instant(i)})
				model[id] = balance.Instant(i)
			} else {
				set.remove(id)
				delete(model, id)
			}
			found := 0
			for i := range set.table {
				if o := &set.table[i]; o.id != 0 {
					if since, ok := model[o.id]; !ok || since != o.since {
						t.Fatalf("lease %v since %d is in the set; in the model %v, %v", o.id, o.since, since, ok)
					}
					found++
				}
			}
			if found != len(model) || set.n != found {
				t.Fatalf("%d leases in the set, which counts %d; want %d", found, set.n, len(model))
			}
		}
	})
}
