package balance

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// This file opens, holds and ends leases.

// hold adds n, which is positive, to the server's open leases.
func (p *Pool) hold(now Instant, s *Server, n int32) {
	p.holdOwn(now, s, n)
	for _, c := range s.counterparts() {
		c.pool.holdElsewhere(now, c, n)
	}
}

// holdOwn adds n, which may be negative, to the server's open leases as this pool counts them.
func (p *Pool) holdOwn(now Instant, s *Server, n int32) {
	if s.reporting {
		s.settle(now)
	}
	if n > 0 {
		p.beginsToOwe(now, s)
	}
	s.leases += n
	p.rank(now, s)
}

// Done ends a lease. It returns false if the lease is not open: ended already,
// expired, or never this pool's.
func (p *Pool) Done(now Instant, id LeaseID, o Outcome) bool {
	l := p.ledger.find(id)
	if l == nil {
		return false
	}
	p.end(now, l, o)
	return true
}

// Ending is what becomes of the word that a lease is over.
type Ending uint8

const (
	NotOpen Ending = iota // it has ended already, has expired, or was never this pool's
	Ended
	Foreign // the lease is another's, and goes on
)

// DoneBy is Done by the word of an edge, which ends its own leases only.
func (p *Pool) DoneBy(now Instant, edge EdgeID, id LeaseID, o Outcome) Ending {
	l := p.ledger.find(id)
	switch {
	case l == nil:
		return NotOpen
	case p.edges[l.edge].id != edge:
		return Foreign
	}
	p.end(now, l, o)
	return Ended
}

// ErrForeign is wrapped by the error of Hold where the lease is another edge's, or was not granted yet.
var ErrForeign = errors.New("the lease is not this edge's")

// Lease is what a pool knows of an open lease.
type Lease struct {
	ID      LeaseID
	Server  ServerID
	Edge    EdgeID // empty: of no edge
	Started Instant
	Expires Instant // zero: with its edge
	Adopted bool    // another life of this pool granted it
	Tag     uint64  // of one that is adopted, as its edge told it
}

// Lease returns an open lease.
func (p *Pool) Lease(id LeaseID) (Lease, bool) {
	l := p.ledger.find(id)
	if l == nil {
		return Lease{}, false
	}
	own, adopted := p.ledger.adopted[id]
	return Lease{ID: l.id, Server: l.server.spec.ID, Edge: p.edges[l.edge].id, Started: l.started, Expires: l.expires, Adopted: adopted, Tag: own.tag}, true
}

// durationError is how much longer than its lease was open a request may have taken. The grant or the word of a choice may have been
// delayed; more is not believed.
const durationError = time.Second

func (p *Pool) end(now Instant, l *lease, o Outcome) {
	s, ended := l.server, *l
	p.ledger.drop(l)
	p.clients.closed(ended.client)
	p.noteEnd(ended.id, s, o.Result)
	if ended.idle {
		s.idle--
	}
	p.clients.rest(now, p.queue.length)
	o.Duration = min(o.Duration, now.Sub(ended.started)+durationError) // which its edge says
	if len(p.recent.taps) > 0 {
		p.tapOutcome(now, &ended, s, &o)
	}
	s.leaves(now, &ended)
	s.countEnd(now, o)
	p.classes.count(now, ended.class, o)
	if o.isSign() {
		p.answered = now
		p.alive(now, s, now)
	}
	if ended.crowd > 0 && o.Duration > 0 && !ended.idle && !ended.chosen {
		p.trip.observe(seconds(now.Sub(ended.started) - o.Duration))
	}
	if o.Result == OK && o.Duration > 0 { // errors teach nothing of how long the work takes
		p.learn(now, s, &ended, &o)
		p.probe(s)
	}
	if ended.tenant != nil {
		p.settleWork(now, s, &ended, &o)
	}
	s.ended = now
	p.watchCanary(now, s, &ended, &o)
	p.judge(now, s, &ended, &o)
	if s.load.x > 0 {
		s.confirm(now)
		s.touched(now)
	}
	if p.queue.length > 0 {
		p.bound(s)
	}
	p.holdOwn(now, s, -1)
	if !o.isSign() && !ended.idle {
		s.gaveUp = now
		p.findStandstill(now, s) // before its place is given to another
	}
	for _, c := range s.counterparts() {
		c.pool.endElsewhere(now, c, p.edges[ended.edge].id, &ended, &o)
	}
	if s.gone && s.ownLeases() == 0 {
		p.forget(now, s)
	}
}

// Held is a lease that another life of this pool granted, as its edge tells of it.
type Held struct {
	Lease  LeaseID
	Server ServerID
	Age    time.Duration // since it was granted
	Left   time.Duration // until it expires; zero: it has no time limit
	Tag    uint64        // of its Grant
	Size   float64       // as its request told it; zero: it did not
	Class  string        // of its request; empty: it has none
}

// Hold enters a lease that another life of this pool granted and its edge still
// holds, or confirms one that is open. Without a time left its limit is lifted. The lease may
// be on a server of which this master has not been told yet: edges are often back before
// agents are. Such a server counts as one that has left, until Put says otherwise. A lease that
// is another edge's, or that the pool has not granted yet,
// is ErrForeign and stays as it is. So many that they cannot be are refused.
func (p *Pool) Hold(now Instant, edge EdgeID, h *Held) error {
	if h.Lease == 0 {
		return fmt.Errorf("pool %s: lease 0 on server %s is none", p.cfg.Name, h.Server)
	}
	var expires Instant
	if h.Left > 0 {
		expires = now.Add(h.Left)
	}
	if l := p.ledger.find(h.Lease); l != nil {
		if p.edges[l.edge].id != edge {
			return fmt.Errorf("pool %s: lease %s: %w", p.cfg.Name, h.Lease, ErrForeign)
		}
		p.ledger.limit(l, expires)
		return nil
	}
	if p.ledger.isToCome(h.Lease) {
		return fmt.Errorf("pool %s: lease %s has not been granted: %w", p.cfg.Name, h.Lease, ErrForeign)
	}
	if problem := BadName(string(h.Server)); problem != "" {
		return fmt.Errorf("pool %s: lease %s: server: %s", p.cfg.Name, h.Lease, problem)
	}
	return p.holdNew(now, edge, h, expires)
}

// holdNew is Hold of a lease that is not open.
func (p *Pool) holdNew(now Instant, edge EdgeID, h *Held, expires Instant) error {
	s := p.byID[h.Server]
	if err := p.bearable(s); err != nil {
		return fmt.Errorf("pool %s: lease %s on server %s: %w", p.cfg.Name, h.Lease, h.Server, err)
	}
	if s == nil {
		s = p.admit(now, ServerSpec{ID: ServerID(strings.Clone(string(h.Server)))})
		s.gone, s.since.departure, s.since.left = true, byLease, now
		p.untold++
	}
	if !p.ledger.adopt(h.Lease, h.Tag, s, p.edge(edge), now.Add(-h.Age), expires) {
		if s.gone && s.ownLeases() == 0 {
			p.forget(now, s)
		}
		return fmt.Errorf("pool %s: lease %s: the ledger is full", p.cfg.Name, h.Lease)
	}
	l := p.ledger.find(h.Lease)
	l.class = p.classes.number(now, h.Class)
	p.enters(now, &Request{Size: h.Size, Class: h.Class}, s, l)
	p.hold(now, s, 1)
	if h.Left > 0 {
		p.owes(now, l, false) // it was redirected
	}
	return nil
}

// Expire ends the leases whose time is over and returns when to call it, and Serve,
// next; zero: when something else has been called.
func (p *Pool) Expire(now Instant) (next Instant) {
	for {
		l, next := p.ledger.due(now)
		if l == nil {
			if p.queue.length > 0 { // external load may fade without a word
				next = min(cmp.Or(next, forever), p.queue.soonest, now.Add(maintenanceCycle), p.returns)
			}
			return next
		}
		p.end(now, l, Outcome{Result: Expired})
	}
}
