package master

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// A master takes from edges what the one before had learnt of the pool's servers.
func TestEdgesTellWhatWasLearntBefore(t *testing.T) {
	r := start(t, web("a", "b"))
	e := r.dialEdge("e")
	e.send(&wire.Snapshot{Snapshot: balance.Snapshot{Pool: "web", Servers: []balance.SnapshotServer{{ID: "a", Slots: 7, Service: .2, Basis: balance.BasisFirm}}}},
		&wire.Snapshot{Snapshot: balance.Snapshot{Pool: "none", Servers: []balance.SnapshotServer{{ID: "a", Slots: 9, Service: .2, Basis: balance.BasisFirm}}}})
	e.sync()
	if v := r.view("a"); v == nil || v.Slots != 7 || !v.Known {
		t.Errorf("server a is %+v, want 7 slots as was told", v)
	}
	if v := r.view("b"); v == nil || v.Known {
		t.Errorf("server b is %+v, want slots that are not known", v)
	}
}
