package client

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file changes which pools an edge asks for while it serves.

// table is a map by pool that is read without a lock and replaced as a whole.
type table[T any] struct {
	current atomic.Pointer[map[string]T]
}

// all returns the map, which must not be changed.
func (t *table[T]) all() map[string]T {
	if m := t.current.Load(); m != nil {
		return *m
	}
	return nil
}

func (t *table[T]) get(pool string) T { return t.all()[pool] }

func (t *table[T]) set(all map[string]T) { t.current.Store(&all) }

// SetPools replaces Config.Pools. The snapshot of a new pool is requested on each connection. A pool that is
// not named any more must have no open request: its asks are refused and its dones are dropped. Masters keep
// sending its changes until the connection ends; they are ignored. A pool that stays is not touched.
func (m *Masters) SetPools(pools []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setPoolsLocked(append(slices.Clone(pools), m.added...))
}

// AddPool adds a pool to which no route leads: requests go on to it from another pool. It stays, whatever SetPools replaces.
func (m *Masters) AddPool(pool string) {
	if m.leadership.get(pool) != nil {
		return // nearly always
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.cfg.Pools, pool) || len(m.added) >= maxAddedPools {
		return
	}
	m.added = append(m.added, pool)
	m.setPoolsLocked(append(slices.Clone(m.cfg.Pools), pool))
}

// maxAddedPools bounds what a master can make an edge watch.
const maxAddedPools = 256

func (m *Masters) setPoolsLocked(pools []string) {
	m.cfg.Pools = pools
	old, seats := m.leadership.all(), make(map[string]*poolLeadership, len(pools))
	for _, pool := range pools {
		if seats[pool] = old[pool]; seats[pool] == nil {
			seats[pool] = &poolLeadership{pool: pool, changed: make(chan struct{}), vacantSince: time.Now()}
		}
	}
	for _, c := range m.clients {
		c.setPools(pools)
	}
	m.leadership.set(seats)
	m.requestReview()
}

// setPools is edgeProtocol.setWatched, for any goroutine.
func (c *Client) setPools(pools []string) {
	c.loop.mu.Lock()
	c.proto.setWatched(clock.Now(), pools)
	c.publishWatchedLocked()
	c.loop.writeAndUnlock()
}

// publishWatchedLocked publishes the watched pools for Snapshot. Before Run no lock is needed.
func (c *Client) publishWatchedLocked() {
	all := make(map[string]*pool, len(c.proto.watched))
	for _, p := range c.proto.watched {
		all[p.name] = p
	}
	c.watched.set(all)
}

// setWatched replaces the watched pools and requests the snapshots of new ones.
func (t *edgeProtocol) setWatched(now balance.Instant, pools []string) {
	old := make(map[*pool]bool, len(t.watched))
	for _, p := range t.watched {
		old[p] = true
	}
	t.watched = make([]*pool, 0, len(pools))
	for _, name := range pools {
		p := t.pool(name)
		if slices.Contains(t.watched, p) {
			continue
		}
		t.watched = append(t.watched, p)
		if !old[p] && t.stage == connected {
			t.appendWatch(now, p)
		}
		delete(old, p)
	}
	for p := range old {
		p.unwatch()
	}
}

// unwatch forgets what is known of a pool, since its changes are not followed from now on.
func (p *pool) unwatch() {
	k := &p.state
	k.current, k.seq, k.complete, k.partial, k.receiving = balance.Snapshot{}, 0, false, balance.Snapshot{}, false
	k.stale.Store(false)
	k.local.Store(0)
	k.latest.Store(nil)
	p.previous = nil
}
