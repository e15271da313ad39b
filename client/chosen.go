package client

import (
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// This file is for edges that choose servers by themselves, where asking takes longer than it wins.

// LocalFrom returns the trip to the pool's master from which the edge is to choose servers by itself; zero: it is to
// ask.
func (c *Client) LocalFrom(pool string) time.Duration {
	if p := c.watched.get(pool); p != nil {
		return time.Duration(p.state.local.Load())
	}
	return 0
}

// Chosen tells the master that a request goes to a server of the caller's choice. The message leaves with the next
// Flush, or after a moment. It returns the request's lease, which ends as one that was granted does. Its error says
// why the master cannot be told: the caller must ask.
func (c *Client) Chosen(pool string, server balance.ServerID, since balance.Instant, req *balance.Request) (balance.LeaseID, error) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	id, err := c.proto.appendChosen(pool, server, since, req)
	if err == nil {
		l.asksGathered.Store(true)
		l.armFlushLocked()
	}
	return id, err
}

// appendChosen opens a lease of the edge's own choice.
func (t *edgeProtocol) appendChosen(name string, server balance.ServerID, since balance.Instant, req *balance.Request) (balance.LeaseID, error) {
	switch {
	case t.stage != connected:
		return 0, t.lossReason
	case t.pool(name).movedAway:
		return 0, errMoved
	case t.unresponsive:
		return 0, errUnresponsive
	case len(t.out) > maxUnwritten:
		return 0, errSlowReader
	}
	p, id := t.pool(name), t.nextOwn()
	t.leases.put(openLease{id: id, pool: p, server: server, since: since, asked: asked{req.Size, t.classes.of(req.Class)}})
	t.out = wire.AppendChosen(t.out, t.abbreviatePool(p.name), id, server, req)
	return id, nil
}

// nextOwn returns an id for a lease that no other open lease has. Those of other edges begin elsewhere, at random.
func (t *edgeProtocol) nextOwn() balance.LeaseID {
	for {
		t.lastOwn = (t.lastOwn + ownStep) & balance.MaxOwnLease
		if t.lastOwn != 0 && t.leases.find(t.lastOwn) == nil {
			return t.lastOwn
		}
	}
}

// ownStep is odd, so that all ids come in turn, and large, so that two edges whose ids begin near each other's part at once.
const ownStep = 0x9e3779b97f4b

// LocalFrom returns that of the pool's leader; zero: ask, also if no leader is known.
func (m *Masters) LocalFrom(pool string) time.Duration {
	if s := m.leadership.get(pool); s != nil {
		if c := s.leader.Load(); c != nil {
			return c.LocalFrom(pool)
		}
	}
	return 0
}

// Chosen tells the pool's leader, as Client.Chosen does.
func (m *Masters) Chosen(pool string, server balance.ServerID, since balance.Instant, req *balance.Request) (balance.LeaseID, error) {
	if s := m.leadership.get(pool); s != nil {
		if c := s.leader.Load(); c != nil {
			return c.Chosen(pool, server, since, req)
		}
	}
	return 0, errNeverUp
}

// HoldFor opens a lease of which the pool's next master is told: no master answers, and the caller has chosen a server that has a
// cap. It ends as one that was granted does.
func (c *Client) HoldFor(pool string, server balance.ServerID, since balance.Instant) balance.LeaseID {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	t := c.proto
	p, id := t.pool(pool), t.nextOwn()
	lease := openLease{id: id, pool: p, server: balance.ServerID(strings.Clone(string(server))), since: since}
	t.leases.put(lease)
	if t.stage == connected {
		t.appendHold(since, &lease)
		l.armFlushLocked()
	}
	return id
}

// HoldFor has the master that has the pool's leases, or has had them, told, as Client.HoldFor does; zero: none ever had.
func (m *Masters) HoldFor(pool string, server balance.ServerID, since balance.Instant) balance.LeaseID {
	if c := m.leaseHolder(pool); c != nil {
		return c.HoldFor(pool, server, since)
	}
	return 0
}
