package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// claim is what a master says of who leads a pool, over the connection that is open.
type claim struct {
	fence  uint64 // it leads; zero: it does not
	leader string // the address of the one that does; empty: unknown
	id     string // the id of the one that does; empty: unknown
}

// refuseLead tells a master that claims to lead a pool that a larger fence was seen, once for each claim.
func (t *edgeTalk) refuseLead(name string, seen uint64) {
	if p := t.pool(name); t.stage == up && p.refused != p.claim.fence {
		p.refused = p.claim.fence
		t.out, t.urgent = (&wire.Fence{Pool: name, Seen: seen}).Append(t.out), true
	}
}

// refuseLead is edgeTalk.refuseLead, from any goroutine.
func (c *Client) refuseLead(pool string, seen uint64) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if c.talk.refuseLead(pool, seen); c.talk.urgent {
		c.line.kick()
	}
}

// errMoved answers an ask of a master that leads the pool no more.
var errMoved = fmt.Errorf("%w that leads the pool: another has taken it over", ErrNoMaster)

// lead takes a Lead. An edge with one master has no use for it.
func (t *edgeTalk) lead(payload []byte) error {
	var m wire.Lead
	if err := m.Decode(payload); err != nil {
		return err
	}
	t.pool(m.Pool).claim = claim{fence: m.Fence, leader: strings.Clone(m.Leader), id: strings.Clone(m.Master)}
	t.turned = true
	return nil
}

// claims reports whether the master leads a pool as far as it says, and with which fence.
func (t *edgeTalk) claims(name string) (c claim, leads bool) {
	if t.stage != up || t.hushed {
		return claim{}, false
	}
	c = t.pool(name).claim
	return c, c.fence != 0 || !t.elected
}

// expect says that leases of the pool are about to be held here. Those that are done
// before adopt are not taken over.
func (t *edgeTalk) expect(name string) {
	t.pool(name).ended = make(map[balance.LeaseID]struct{})
	t.moving++
}

// yield gives up all leases of a pool, and the asks that wait: nothing more is granted here.
func (t *edgeTalk) yield(name string) (open []openLease, waiting []*waiter) {
	p := t.pool(name)
	p.away = true
	for _, all := range []*leases{&t.leases, &t.limited} {
		mine := all.of(p)
		for i := range mine {
			all.drop(mine[i].id)
		}
		open = append(open, mine...)
	}
	return open, t.withdraw(p, errMoved)
}

// of returns the leases of a pool.
func (l *leases) of(p *pool) (open []openLease) {
	for i := range l.at {
		if l.at[i].id != 0 && l.at[i].pool == p {
			open = append(open, l.at[i])
		}
	}
	return open
}

// withdraw ends the asks that wait, those of one pool or, without one, all.
func (t *edgeTalk) withdraw(p *pool, why error) (waiting []*waiter) {
	for slot := range t.asks {
		a := &t.asks[slot]
		if a.waiter == nil || p != nil && a.pool != p {
			continue
		}
		w := a.waiter
		t.cancel(a.gen<<slotBits | uint64(slot))
		w.err = why
		waiting = append(waiting, w)
	}
	return waiting
}

// How long a master that is asked may say nothing until it is pinged, and then until it
// is not asked any more. It answers an ask within microseconds and a ping at once, also
// while asks wait in its queue.
const (
	probeEvery = 50 * time.Millisecond
	suspicion  = 100 * time.Millisecond
	certainty  = 200 * time.Millisecond
)

var errHushed = fmt.Errorf("%w: it has not answered for %v, not even a ping", ErrNoMaster, suspicion+certainty)

// probe looks whether a master that is asked is still there: one whose process is stopped,
// or whose network has gone, is not lost for seconds yet. It returns the asks that are not
// to wait any longer.
func (t *edgeTalk) probe(now balance.Instant) (waiting []*waiter) {
	slept := now.Sub(t.probed) > 4*probeEvery // it was we who were silent
	t.probed = now
	switch {
	case t.stage != up || slept:
	case t.hushed && t.heard > t.pinged:
		t.hushed, t.turned = false, true
	case t.hushed || t.waiting == 0 || now.Sub(t.heard) < suspicion:
	case t.pinged <= t.heard:
		t.pings++
		t.pinged, t.urgent = now, true
		t.out = (&wire.Ping{Seq: t.pings}).Append(t.out)
	case now.Sub(t.pinged) >= certainty:
		t.hushed, t.turned = true, true
		waiting = t.withdraw(nil, errHushed)
	}
	return waiting
}

// adopt holds leases here, and tells the master of all that are open in the pool.
func (t *edgeTalk) adopt(now balance.Instant, name string, open []openLease) {
	p := t.pool(name)
	p.away = false
	for _, l := range open {
		if _, over := p.ended[l.id]; over || l.expires != 0 && l.expires <= now {
			continue
		}
		l.pool = p
		if l.expires == 0 {
			t.leases.put(l)
		} else {
			t.limited.put(l)
		}
	}
	p.ended = nil
	t.moving--
	if t.stage != up {
		return // the welcome tells
	}
	for _, all := range []*leases{&t.leases, &t.limited} {
		mine := all.of(p)
		for i := range mine {
			t.hold(now, &mine[i])
		}
	}
	t.urgent = true
}

// claims is edgeTalk.claims, from any goroutine.
func (c *Client) claims(pool string) (claim, bool) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.talk.claims(pool)
}

func (c *Client) expect(pool string) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.talk.expect(pool)
}

// yield wakes those whose asks wait, and ends the read of one that does so for itself.
func (c *Client) yield(pool string) []openLease {
	l := c.line
	l.mu.Lock()
	open, waiting := c.talk.yield(pool)
	l.release(waiting)
	return open
}

// probe is edgeTalk.probe. It reports whether who leads may have changed.
func (c *Client) probe() bool {
	l := c.line
	l.mu.Lock()
	was := c.talk.hushed
	waiting := c.talk.probe(clock.Now())
	changed := c.talk.hushed != was
	if c.talk.urgent {
		l.kick()
	}
	if len(waiting) == 0 {
		l.mu.Unlock()
		return changed
	}
	l.release(waiting)
	return changed
}

// release wakes those whose asks were withdrawn, also one that reads for itself. mu is
// held, and let go of.
func (l *line) release(waiting []*waiter) {
	if l.conn != nil && l.turn == ofPicker && !l.parting && !l.interrupted {
		l.interrupted = true
		_ = l.conn.SetReadDeadline(past)
	}
	l.kick()
	l.mu.Unlock()
	for _, w := range waiting {
		w.told()
	}
}

func (c *Client) adopt(pool string, open []openLease) {
	c.line.mu.Lock()
	c.talk.adopt(clock.Now(), pool, open)
	c.line.push()
}
