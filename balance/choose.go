package balance

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// This file chooses a server for a request, and opens the lease.

// Policy chooses among servers that may all take the request. Package policy has
// the table of them.
type Policy interface {
	// Choose returns an index into candidates, of which there is at least one. It
	// keeps nothing of its arguments, and rng is its only source of chance.
	Choose(now Instant, req *Request, candidates []*Server, rng *rand.Rand) int
}

// Scorer compares servers by a number that does not depend on the request; the
// lowest wins. A pool keeps its servers in order of it, so that a choice among
// thousands costs little more than one among ten.
type Scorer interface {
	Score(now Instant, s *Server) float64
}

// EdgeScorer is a Scorer for which an edge can stand in that knows its own requests, slots and service times.
type EdgeScorer interface {
	Scorer
	EdgesMayChoose()
}

// ByScore is the Policy that takes the lowest score; equals are taken in turn.
type ByScore struct{ Scorer }

// Choose looks at every candidate. A pool does so only where the request itself
// leaves few of its servers open.
func (p ByScore) Choose(now Instant, _ *Request, candidates []*Server, _ *rand.Rand) int {
	best, lowest := 0, never
	for i, s := range candidates {
		if k := s.key(p.Score(now, s)); k < lowest {
			best, lowest = i, k
		}
	}
	return best
}

// Pick chooses a server and opens a lease on it. Its error is always a *Refusal;
// where the pool has a queue, one whose Reason is Saturated may be waited out by Join.
func (p *Pool) Pick(now Instant, req *Request) (g Grant, err error) {
	if req.Deadline != 0 {
		p.noteDeadline(now, req.Deadline)
	}
	waits := p.mustWait(now, req) && !(p.weighs(req) && p.allAwait()) && p.mayWait(now, req, nil) // if no server is up it is no use to wait: all are tried
	t := p.tenantOf(req)
	if t.isFull() {
		return Grant{}, p.refuseTenant(t)
	}
	if p.mayOverflow(req) && !p.mayWait(now, req, p.beyond(now, req.Edge)) {
		return Grant{}, p.sendOn(fmt.Sprintf("pool %s: no server is up that could take the request", p.cfg.Name))
	}
	var s *Server
	if !waits {
		s = p.choose(now, req)
	}
	if s == nil && p.backups > 0 && p.wouldRefuse(now, req) {
		s = p.chooseBackup(now, req)
	}
	if s == nil && p.queue.size == 0 {
		return Grant{}, p.orOverflow(req, p.refuse(now, req))
	}
	if s == nil {
		return Grant{}, p.refuse(now, req)
	}
	if refusal := p.grant(now, req, s, t, &g); refusal != nil {
		return Grant{}, refusal
	}
	return g, nil
}

// choose returns the server for a request, or nil if none can take it now.
func (p *Pool) choose(now Instant, req *Request) (s *Server) {
	p.maintain(now)
	p.later = nil
	if !p.hasSides() {
		return p.chooseOn(now, req) // nearly always
	}
	p.onSide(req, p.chooseSide(now, req), func() { s = p.chooseOn(now, req) })
	return s
}

// chooseOn is choose on the side that is set in the request.
func (p *Pool) chooseOn(now Instant, req *Request) *Server {
	if len(p.silent) > 0 {
		if s := p.onTrial(now, req); s != nil {
			return s
		}
	}
	if p.isFull(now, req, p.beyond(now, req.Edge)) {
		return nil
	}
	if p.weighs(req) {
		var best *Server
		if best, p.later = p.lightest(now, req); best != nil || p.later != nil {
			return best
		}
	}
	if p.scorer != nil {
		if p.personal(req) {
			return p.closest(now, req)
		}
		if s := p.lowest(now, req); s != nil {
			return s
		}
	}
	candidates := p.candidates(now, req)
	if len(candidates) == 0 {
		return nil
	}
	return candidates[p.policy.Choose(now, req, candidates, p.rng)]
}

// lowest returns the first server in order that the request, and what its edge reaches,
// leave open. It gives up after a few: then all are looked at.
func (p *Pool) lowest(now Instant, req *Request) *Server {
	beyond := p.beyond(now, req.Edge)
	o := p.orderOf(now, req, beyond)
	if o == nil {
		return nil
	}
	first := o.first()
	if first < 0 {
		return nil
	}
	if s := p.servers[first]; len(req.Exclude) == 0 && beyond == nil || s.suits(now, req, beyond) {
		return s
	}
	n := len(req.Exclude) + 1
	if beyond != nil {
		n = maxBest
	}
	var few [maxBest]int32
	for _, i := range o.best(few[:0], n) {
		if s := p.servers[i]; s.suits(now, req, beyond) {
			return s
		}
	}
	return nil
}

// grant opens a lease on a server and fills in what the edge is told of it. t may be nil.
func (p *Pool) grant(now Instant, req *Request, s *Server, t *tenant, g *Grant) *Refusal {
	l, ok := p.ledger.add(s, p.edge(req.Edge), now, p.limit(now, req, s))
	if !ok {
		return &Refusal{Reason: Saturated, RetryAfter: time.Second, Detail: fmt.Sprintf("pool %s has %d open leases, the most it can have", p.cfg.Name, p.ledger.open)}
	}
	p.place(now, req, s, t, l)
	g.Lease, g.Server, g.Address, g.At, g.Public, g.Expires = l.id, s.answer.id(), s.answer.address(), s.answer.at(), s.answer.public(), l.expires
	g.Serial = s.serial
	return nil
}

// place enters a request that goes to a server, and its lease. t may be nil.
func (p *Pool) place(now Instant, req *Request, s *Server, t *tenant, l *lease) {
	l.crowd = float32(s.crowd(now) + 1)
	if t != nil {
		l.tenant = t
		t.leases++
	}
	if p.tenants.learns(req) && (p.queue.length > 0 || p.placed%16 == 0) { // now and then will do while no request waits
		p.tenants.serves(now, req.Tenant)
	}
	l.class = p.classes.number(now, req.Class)
	l.client = PrefixOf(req.Client)
	p.clients.opened(l.client)
	if p.recent.affords(now) {
		p.note(now, l.id, req, s)
	}
	if len(p.recent.taps) > 0 {
		p.tapDecision(now, l, req, s)
	}
	p.enters(now, req, s, l)
	if key := p.hash(req.Key); key != 0 {
		s.memory.use(key, p.cfg.Affinity.Keys)
	}
	s.granted++
	p.countShare(now, req, s)
	if p.placed++; p.placed == 1 {
		p.placedFirst = now
	}
	if p.exclusions > 0 {
		p.edges[l.edge].placed++
	}
	if len(req.Exclude) > 0 || len(req.Labels) > 0 {
		p.accountRequest(now, req)
	}
	p.takeTurn(now, s)
	p.hold(now, s, 1)
	if req.Link == LinkRedirect {
		p.owes(now, l, false)
	} else if s.isHeldForSilence() {
		p.try(now, s)
		for _, c := range s.counterparts() {
			if c.isHeldForSilence() {
				c.pool.try(now, c)
			}
		}
	}
}

// limit returns when a lease for the request ends by itself. No connection of an edge tells when a redirected link, or one
// without an edge, ends, so those always have a limit. What an edge has under way at a server with a cap counts until it ends: a time limit,
// which a client may choose, would let it have more.
func (p *Pool) limit(now Instant, req *Request, s *Server) Instant {
	switch {
	case req.Link == LinkRoute && req.Edge != "" && s.declaredCap() > 0:
		return 0
	case req.Hold > 0:
		return now.Add(req.Hold)
	case req.Link == LinkRedirect || req.Edge == "":
		return now.Add(p.cfg.LeaseTime)
	}
	return 0
}
