package exchange

import (
	"log/slog"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// snapshotsOf is a picker that never answers, with a snapshot of each pool.
type snapshotsOf map[string]*balance.Snapshot

func (s snapshotsOf) Snapshot(pool string) *balance.Snapshot { return s[pool] }

// Without a master an edge keeps its share of a cap over all pools in which the server stands, and takes the server again when a request
// of whichever pool is over.
func TestFallbackCountsAServerOfSeveralPoolsOnce(t *testing.T) {
	d := &Deps{Settings: Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, Metrics: newMetrics()}
	snaps := snapshotsOf{}
	d.snapshots = snaps
	for _, name := range []string{"pages", "sockets"} {
		d.PoolNumber(name)
		snaps[name] = &balance.Snapshot{Pool: name, Sharers: []balance.EdgeID{"e1"},
			Servers: []balance.SnapshotServer{{ID: balance.ServerID(name + "-a"), Address: "10.0.0.1:80", State: balance.Up, Cap: 1}}}
	}
	pools := d.Pools
	now := balance.Instant(time.Hour)
	choose := func(p *Pool) (link *int, reason string) {
		_, link, reason = d.fallback(now, p, snaps[p.Name], nil)
		return link, reason
	}
	link, reason := choose(pools[0])
	if reason != "" {
		t.Fatalf("nothing was chosen: %s", reason)
	}
	for _, p := range pools {
		if _, reason := choose(p); reason != balance.Saturated.String() {
			t.Errorf("pool %s: %q although the server has as many requests as it may, want saturated", p.Name, reason)
		}
	}
	pools[0].releaseLink(link)
	if link, reason = choose(pools[1]); reason != "" {
		t.Errorf("the request is over, and nothing was chosen: %s", reason)
	}
	if _, reason := choose(pools[0]); reason != balance.Saturated.String() {
		t.Errorf("pool %s: %q although another pool has the server's only request, want saturated", pools[0].Name, reason)
	}
	pools[1].releaseLink(link)
	snaps["sockets"] = &balance.Snapshot{Pool: "sockets", Sharers: []balance.EdgeID{"e1"}, Servers: []balance.SnapshotServer{{ID: "b", Address: "10.0.0.2:80", State: balance.Up, Cap: 1}}}
	for _, p := range pools {
		if _, reason := choose(p); reason != "" {
			t.Errorf("pool %s: nothing was chosen although no server is shared any more: %s", p.Name, reason)
		}
	}
}
