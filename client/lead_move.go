package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// claim is what a connected master says about who leads a pool.
type claim struct {
	fence  uint64 // of its own lead; zero: it does not lead
	leader string // address of the leader; empty: unknown
	id     string // id of the leader; empty: unknown
}

// appendFence tells a master that claims to lead a pool that a larger fence was seen, once for each claim.
func (t *edgeProtocol) appendFence(name string, seen uint64) {
	if p := t.pool(name); t.stage == connected && p.refused != p.claim.fence {
		p.refused = p.claim.fence
		t.out, t.urgent = (&wire.Fence{Pool: name, Seen: seen}).Append(t.out), true
	}
}

// rejectLead is edgeProtocol.appendFence, for any goroutine.
func (c *Client) rejectLead(pool string, seen uint64) {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if c.proto.appendFence(pool, seen); c.proto.urgent {
		c.loop.requestWrite()
	}
}

// errMoved answers an ask of a master that no longer leads the pool.
var errMoved = fmt.Errorf("%w that leads the pool: another has taken it over", ErrNoMaster)

// onLead handles a Lead. An edge with one master does not need it.
func (t *edgeProtocol) onLead(payload []byte) error {
	var m wire.Lead
	if err := m.Decode(payload); err != nil {
		return err
	}
	t.pool(m.Pool).claim = claim{fence: m.Fence, leader: strings.Clone(m.Leader), id: strings.Clone(m.Master)}
	t.leaderChanged = true
	return nil
}

// leadClaim returns what the master says about who leads a pool. leads reports whether it says that it leads.
func (t *edgeProtocol) leadClaim(name string) (c claim, leads bool) {
	if t.stage != connected || t.unresponsive {
		return claim{}, false
	}
	c = t.pool(name).claim
	return c, c.fence != 0 || !t.elected
}

// beginMove announces that leases of the pool are about to be moved to this connection. Those that end before
// adoptLeases are not taken over.
func (t *edgeProtocol) beginMove(name string) {
	t.pool(name).ended = make(map[balance.LeaseID]struct{})
	t.moving++
}

// releasePool gives up all leases of a pool and the asks that wait: nothing more is granted here.
func (t *edgeProtocol) releasePool(name string) (open []openLease, waiting []*waiter) {
	p := t.pool(name)
	p.movedAway = true
	for _, all := range []*leases{&t.leases, &t.expiring} {
		mine := all.ofPool(p)
		for i := range mine {
			all.remove(mine[i].id)
		}
		open = append(open, mine...)
	}
	return open, t.withdrawAsks(p, errMoved)
}

// ofPool returns the leases of a pool.
func (l *leases) ofPool(p *pool) (open []openLease) {
	for i := range l.table {
		if l.table[i].id != 0 && l.table[i].pool == p {
			open = append(open, l.table[i])
		}
	}
	return open
}

// withdrawAsks ends the asks that wait, those of one pool or, if p is nil, all.
func (t *edgeProtocol) withdrawAsks(p *pool, why error) (waiting []*waiter) {
	for slot := range t.asks {
		a := &t.asks[slot]
		if a.waiter == nil || p != nil && a.pool != p {
			continue
		}
		w := a.waiter
		t.cancelAsk(a.gen<<slotBits | uint64(slot))
		w.err = why
		waiting = append(waiting, w)
	}
	return waiting
}

// How long a master that is asked may be silent until it is pinged, and from then until it is no longer asked.
// A master answers an ask within microseconds, and a ping at once, also while asks wait in its queue.
const (
	probeEvery     = 50 * time.Millisecond
	probePingAfter = 100 * time.Millisecond
	probeTimeout   = 200 * time.Millisecond
)

var errUnresponsive = fmt.Errorf("%w: it has not answered for %v, not even a ping", ErrNoMaster, probePingAfter+probeTimeout)

// checkResponsive looks whether a master that is asked still answers: a master whose process is stopped, or
// whose network is gone, is disconnected only seconds later. It returns the asks that should not wait any
// longer.
func (t *edgeProtocol) checkResponsive(now balance.Instant) (waiting []*waiter) {
	slept := now.Sub(t.lastProbe) > 4*probeEvery // this process was suspended
	t.lastProbe = now
	switch {
	case t.stage != connected || slept:
	case t.unresponsive && t.lastReceived > t.lastPing:
		t.unresponsive, t.leaderChanged = false, true
	case t.unresponsive || t.waiting == 0 || now.Sub(t.lastReceived) < probePingAfter:
	case t.lastPing <= t.lastReceived:
		t.pings++
		t.lastPing, t.urgent = now, true
		t.out = (&wire.Ping{Seq: t.pings}).Append(t.out)
	case now.Sub(t.lastPing) >= probeTimeout:
		t.unresponsive, t.leaderChanged = true, true
		waiting = t.withdrawAsks(nil, errUnresponsive)
	}
	return waiting
}

// adoptLeases holds leases on this connection and confirms all open leases of the pool to the master.
func (t *edgeProtocol) adoptLeases(now balance.Instant, name string, open []openLease) {
	p := t.pool(name)
	p.movedAway = false
	for _, l := range open {
		if _, over := p.ended[l.id]; over || l.expires != 0 && l.expires <= now {
			continue
		}
		l.pool = p
		if l.expires == 0 {
			t.leases.put(l)
		} else {
			t.expiring.put(l)
		}
	}
	p.ended = nil
	t.moving--
	if t.stage != connected {
		return // onWelcomed confirms them
	}
	for _, all := range []*leases{&t.leases, &t.expiring} {
		mine := all.ofPool(p)
		for i := range mine {
			t.appendHold(now, &mine[i])
		}
	}
	t.urgent = true
}

// leadClaim is edgeProtocol.leadClaim, for any goroutine.
func (c *Client) leadClaim(pool string) (claim, bool) {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	return c.proto.leadClaim(pool)
}

func (c *Client) beginMove(pool string) {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	c.proto.beginMove(pool)
}

// releasePool answers the asks that wait, and interrupts a picker that reads.
func (c *Client) releasePool(pool string) []openLease {
	l := c.loop
	l.mu.Lock()
	open, waiting := c.proto.releasePool(pool)
	l.notifyAndUnlock(waiting)
	return open
}

// checkResponsive is edgeProtocol.checkResponsive. It reports whether the leader may have changed.
func (c *Client) checkResponsive() bool {
	l := c.loop
	l.mu.Lock()
	was := c.proto.unresponsive
	waiting := c.proto.checkResponsive(clock.Now())
	changed := c.proto.unresponsive != was
	if c.proto.urgent {
		l.requestWrite()
	}
	if len(waiting) == 0 {
		l.mu.Unlock()
		return changed
	}
	l.notifyAndUnlock(waiting)
	return changed
}

// notifyAndUnlock answers withdrawn asks, interrupts a picker that reads, and unlocks mu.
func (l *connLoop) notifyAndUnlock(waiting []*waiter) {
	if l.conn != nil && l.turn == turnPicker && !l.closing && !l.interrupted {
		l.interrupted = true
		_ = l.conn.SetReadDeadline(past)
	}
	l.requestWrite()
	l.mu.Unlock()
	for _, w := range waiting {
		w.notify()
	}
}

func (c *Client) adoptLeases(pool string, open []openLease) {
	c.loop.mu.Lock()
	c.proto.adoptLeases(clock.Now(), pool, open)
	c.loop.writeAndUnlock()
}
