package exchange

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// Deps is what all exchanges of an edge share. NewDeps makes it. Its fields do not change while there are
// exchanges; all methods are safe for concurrent use.
type Deps struct {
	Settings
	Picker    Picker
	returner  leaseReturner  // nil: the picker is none
	owes      owesPicker     // nil: the picker is none
	snapshots SnapshotPicker // nil: the picker is none
	local     localPicker    // nil: the picker is none
	adder     poolAdder      // nil: the picker is none
	Pools     []*Pool        // by their numbers
	Metrics   *Metrics
	Open      atomic.Int64 // exchanges in progress that no loop counts
	overlaps  overlaps
}

// Settings are those of the edge's configuration that concern exchanges. Defaults are filled in.
type Settings struct {
	ID        balance.EdgeID
	Via       string        // what the edge is called in Via
	MaxHops   int           // how often a request may have come through an edge of that name
	Log       *slog.Logger  // not nil
	AccessLog *slog.Logger  // a record for each exchange; nil: none
	LogClient bool          // the record also has the target, version, referer and user agent of the request
	Trace     routing.Trace // how the edge takes part in distributed tracing
}

// NewDeps returns what exchanges that ask picker need. It also uses the optional methods that picker has, such
// as Snapshot or Owes of client.Client.
func NewDeps(s Settings, picker Picker) *Deps {
	d := &Deps{Settings: s, Picker: picker, Metrics: newMetrics()}
	d.returner, _ = picker.(leaseReturner)
	d.owes, _ = picker.(owesPicker)
	d.snapshots, _ = picker.(SnapshotPicker)
	d.local, _ = picker.(localPicker)
	d.adder, _ = picker.(poolAdder)
	return d
}

// PoolNumber returns the number of a pool, which it makes if there is none of that name yet.
func (d *Deps) PoolNumber(name string) int {
	i := slices.IndexFunc(d.Pools, func(p *Pool) bool { return p.Name == name })
	if i < 0 {
		i = len(d.Pools)
		d.Pools = append(d.Pools, newPool(name, i, &d.Settings, d.Metrics))
	}
	return i
}

// KnowsServers reports whether fallback could choose in every pool.
func (d *Deps) KnowsServers() bool {
	return d.snapshots != nil && !slices.ContainsFunc(d.Pools, func(p *Pool) bool { return d.snapshots.Snapshot(p.Name) == nil })
}

// MergeStats takes over the counts of a loop that has ended.
func (d *Deps) MergeStats(left *LoopStats) {
	d.Open.Add(left.OpenExchanges)
	for _, p := range d.Pools {
		p.mu.Lock()
		p.stats.merge(&left.Pools[p.number])
		p.mu.Unlock()
	}
}

// sumStats returns the stats of all pools, by their numbers. visit calls its argument with the stats of one loop
// after another.
func (d *Deps) sumStats(visit func(func(*LoopStats))) []PoolStats {
	sums := make([]PoolStats, len(d.Pools))
	for _, p := range d.Pools {
		p.mu.Lock()
		sums[p.number].merge(&p.stats)
		p.mu.Unlock()
	}
	visit(func(b *LoopStats) {
		for i := range b.Pools {
			sums[i].merge(&b.Pools[i])
		}
	})
	return sums
}

// LogRefused logs a connection that was refused for its first bytes. Where a PROXY header is required the
// reason is mostly a proxy that sends none, hence a warning; a connection that ends without a byte is a health
// check.
func (d *Deps) LogRefused(l *routing.BoundListener, client netip.Addr, err error) {
	level, text := slog.LevelDebug, "connection refused"
	if l.WantsProxyHeader() && !errors.Is(err, io.EOF) && !errors.Is(err, routing.ErrDenied) && !errors.Is(err, routing.ErrConnections) {
		level, text = slog.LevelWarn, "connection refused: the listener wants a PROXY header before all else"
	}
	d.Log.Log(context.Background(), level, text, "listener", l.Listen, "client", routing.Node(client), "err", err)
}
