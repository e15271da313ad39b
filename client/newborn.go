package client

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file says when an edge knows more of a pool than a master does. One that has just
// been started learns of servers by their agents, which take a moment to come back. Until
// then it would refuse what those servers could do, or heap all on the first that is back,
// so it is not asked, and the edge chooses from what was known before.

// comeBack is how long agents may take to find a new master: a dial into nothing, and the
// wait for the next. A master that still knows fewer servers then is believed.
const comeBack = 5 * time.Second

// isNew reports whether the master that is connected is one that has been started lately,
// or that we have not known for longer.
func (t *edgeTalk) isNew(now balance.Instant) bool { return t.stage == up && now.Sub(t.met) < comeBack }

// isBehind reports whether such a master still lacks servers of a pool that were known before.
func (t *edgeTalk) isBehind(now balance.Instant, p *pool, before *balance.Snapshot) bool {
	return t.isNew(now) && before != nil && len(before.Servers) > 0 && (!p.known.whole || lacks(&p.known.now, before))
}

// lacks reports whether a snapshot is without servers that one before it had. In a pool that
// dispatches, nobody can choose but the master: there any server is better than none.
func lacks(now, before *balance.Snapshot) bool {
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

// remember keeps what is known of a pool for after the connection, which ends.
func (p *pool) remember(behind bool, drains *drains) {
	if p.known.whole && !behind {
		p.former = p.snapshot(drains)
	}
}

// best returns what is known of a pool: by this connection or, while its master is behind
// or there is none, by the one before.
func (t *edgeTalk) best(now balance.Instant, p *pool) *balance.Snapshot {
	if p.former != nil && (!p.known.whole || t.isBehind(now, p, p.former)) {
		return p.former
	}
	return p.snapshot(t.drains.drains)
}

// isBehind reports whether the master lacks servers of a seat's pool that it knew in its life
// before, or that the master knew which led last.
func (c *Client) isBehind(s *seat) bool {
	c.line.mu.Lock()
	isNew, p := c.talk.isNew(clock.Now()), c.watched.of(s.pool)
	c.line.mu.Unlock()
	if !isNew || p == nil {
		return false
	}
	last := s.last()
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	now := clock.Now()
	return c.talk.isBehind(now, p, p.former) || c.talk.isBehind(now, p, last)
}

// last returns what the pool's leader knows of it, or knew when it was lost; nil: nothing.
func (s *seat) last() *balance.Snapshot {
	c := s.keeper.Load()
	if c == nil {
		return nil
	}
	p := c.watched.of(s.pool)
	if p == nil {
		return nil
	}
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.talk.best(clock.Now(), p)
}
