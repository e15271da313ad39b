package edge

import (
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// deps is what all exchanges of an edge share. newDeps makes it. Its fields do not change while there are
// exchanges; all methods are safe for concurrent use.
type deps struct {
	settings
	picker    Picker
	returner  leaseReturner  // nil: the picker is none
	owes      owesPicker     // nil: the picker is none
	snapshots snapshotPicker // nil: the picker is none
	local     localPicker    // nil: the picker is none
	pools     []*pool        // by their numbers
	metrics   *metrics
	open      atomic.Int64 // exchanges in progress that no loop counts
}

// settings are those of the edge's configuration that concern exchanges. Defaults are filled in.
type settings struct {
	ID        balance.EdgeID
	Via       string       // what the edge is called in Via
	MaxHops   int          // how often a request may have come through an edge of that name
	Log       *slog.Logger // not nil
	AccessLog *slog.Logger // a record for each exchange; nil: none
}

// newDeps returns what exchanges that ask picker need. It also uses the optional methods that picker has, such
// as Snapshot or Owes of client.Client.
func newDeps(s settings, picker Picker) *deps {
	d := &deps{settings: s, picker: picker, metrics: newMetrics()}
	d.returner, _ = picker.(leaseReturner)
	d.owes, _ = picker.(owesPicker)
	d.snapshots, _ = picker.(snapshotPicker)
	d.local, _ = picker.(localPicker)
	return d
}

// PoolNumber returns the number of a pool, which it makes if there is none of that name yet.
func (d *deps) poolNumber(name string) int {
	i := slices.IndexFunc(d.pools, func(p *pool) bool { return p.name == name })
	if i < 0 {
		i = len(d.pools)
		d.pools = append(d.pools, newPool(name, i, &d.settings, d.metrics))
	}
	return i
}

// knowsServers reports whether fallback could choose in every pool.
func (d *deps) knowsServers() bool {
	return d.snapshots != nil && !slices.ContainsFunc(d.pools, func(p *pool) bool { return d.snapshots.Snapshot(p.name) == nil })
}

// mergeStats takes over the counts of a loop that has ended.
func (d *deps) mergeStats(left *loopStats) {
	d.open.Add(left.openExchanges)
	for _, p := range d.pools {
		p.mu.Lock()
		p.stats.merge(&left.pools[p.number])
		p.mu.Unlock()
	}
}

// sumStats returns the stats of all pools, by their numbers. visit calls its argument with the stats of one loop
// after another.
func (d *deps) sumStats(visit func(func(*loopStats))) []poolStats {
	sums := make([]poolStats, len(d.pools))
	for _, p := range d.pools {
		p.mu.Lock()
		sums[p.number].merge(&p.stats)
		p.mu.Unlock()
	}
	visit(func(b *loopStats) {
		for i := range b.pools {
			sums[i].merge(&b.pools[i])
		}
	})
	return sums
}
