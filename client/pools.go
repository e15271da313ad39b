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
	at atomic.Pointer[map[string]T]
}

// all returns the map, which must not be changed.
func (t *table[T]) all() map[string]T {
	if m := t.at.Load(); m != nil {
		return *m
	}
	return nil
}

func (t *table[T]) of(pool string) T { return t.all()[pool] }

func (t *table[T]) set(all map[string]T) { t.at.Store(&all) }

// SetPools makes pools those that are asked for, in place of Config.Pools. The snapshot of a new
// one is asked for on each connection that is up. One that is not named any more must have no
// open request: its asks are refused, and ends of its leases go nowhere. Masters go on telling of
// it, which is ignored, until the connection ends. A pool that stays is not touched.
func (m *Masters) SetPools(pools []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Pools = slices.Clone(pools)
	old, seats := m.seats.all(), make(map[string]*seat, len(pools))
	for _, pool := range pools {
		if seats[pool] = old[pool]; seats[pool] == nil {
			seats[pool] = &seat{pool: pool, moved: make(chan struct{}), vacant: time.Now()}
		}
	}
	for _, c := range m.clients {
		c.setPools(pools)
	}
	m.seats.set(seats)
	m.nudge()
}

// setPools is edgeTalk.setPools, from any goroutine.
func (c *Client) setPools(pools []string) {
	c.line.mu.Lock()
	c.talk.setPools(clock.Now(), pools)
	c.noteWatched()
	c.line.push()
}

// noteWatched has Snapshot know what the talk watches. The line's mu is held, if there is anybody else.
func (c *Client) noteWatched() {
	all := make(map[string]*pool, len(c.talk.watched))
	for _, p := range c.talk.watched {
		all[p.name] = p
	}
	c.watched.set(all)
}

// setPools makes pools those that are watched, and asks for the snapshots of new ones.
func (t *edgeTalk) setPools(now balance.Instant, pools []string) {
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
		if !old[p] && t.stage == up {
			t.watch(now, p)
		}
		delete(old, p)
	}
	for p := range old {
		p.unwatch()
	}
}

// unwatch forgets what is known of a pool, since its changes are not followed from now on.
func (p *pool) unwatch() {
	k := &p.known
	k.now, k.seq, k.whole, k.partial, k.halfway = balance.Snapshot{}, 0, false, balance.Snapshot{}, false
	k.stale.Store(false)
	k.latest.Store(nil)
	p.former = nil
}
