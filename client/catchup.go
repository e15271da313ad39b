package client

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file decides when an edge knows more of a pool than its master does. A restarted master learns of
// servers from their agents, which take a moment to reconnect. Until then it would refuse requests that those
// servers could serve, or send all of them to the first server that is back. So it is not asked, and the edge
// chooses from the snapshot of before.

// agentReturnTime is how long agents may take to find a restarted master: a failed dial and the wait before
// the next. A master that still knows fewer servers then is believed.
const agentReturnTime = 5 * time.Second

// isNew reports whether the connected master has been known for less than agentReturnTime.
func (t *edgeProtocol) isNew(now balance.Instant) bool {
	return t.stage == connected && now.Sub(t.firstWelcome) < agentReturnTime
}

// isCatchingUp reports whether a new master lacks servers of a pool that were known before.
func (t *edgeProtocol) isCatchingUp(now balance.Instant, p *pool, before *balance.Snapshot) bool {
	return t.isNew(now) && before != nil && len(before.Servers) > 0 && (!p.state.complete || lacksServers(&p.state.current, before))
}

// lacksServers reports whether a snapshot lacks servers of an earlier one. In a pool that dispatches only the
// master can choose: there any server is better than none.
func lacksServers(now, before *balance.Snapshot) bool {
	have := make(map[balance.ServerID]struct{}, len(now.Servers))
	for i := range now.Servers {
		if now.Servers[i].State != balance.Gone {
			have[now.Servers[i].ID] = struct{}{}
		}
	}
	if before.Dispatch && len(have) > 0 {
		return false
	}
	for i := range before.Servers {
		s := &before.Servers[i]
		if _, known := have[s.ID]; !known && (s.State == balance.Up || s.State == balance.Ejected) {
			return true
		}
	}
	return false
}

// keepPrevious keeps what is known of a pool after its connection has ended.
func (p *pool) keepPrevious(behind bool, overrides *overrides) {
	if p.state.complete && !behind {
		p.previous = p.snapshot(overrides)
	}
}

// bestSnapshot returns what is known of a pool: from this connection or, while its master is catching up or
// there is none, from the previous one.
func (t *edgeProtocol) bestSnapshot(now balance.Instant, p *pool) *balance.Snapshot {
	if p.previous != nil && (!p.state.complete || t.isCatchingUp(now, p, p.previous)) {
		return p.previous
	}
	return p.snapshot(t.overrides.overrides)
}

// isCatchingUp reports whether the master lacks servers of a pool that its previous process knew, or that the
// last leader knew.
func (c *Client) isCatchingUp(s *poolLeadership) bool {
	c.loop.mu.Lock()
	isNew, p := c.proto.isNew(clock.Now()), c.watched.get(s.pool)
	c.loop.mu.Unlock()
	if !isNew || p == nil {
		return false
	}
	last := s.lastSnapshot()
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	now := clock.Now()
	return c.proto.isCatchingUp(now, p, p.previous) || c.proto.isCatchingUp(now, p, last)
}

// lastSnapshot returns what the pool's leader knows of it, or knew when it was lost; nil: nothing.
func (s *poolLeadership) lastSnapshot() *balance.Snapshot {
	c := s.leaseHolder.Load()
	if c == nil {
		return nil
	}
	p := c.watched.get(s.pool)
	if p == nil {
		return nil
	}
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	return c.proto.bestSnapshot(clock.Now(), p)
}
