package balance

import (
	"errors"
	"fmt"
)

// This file says what becomes of an edge's leases when it is gone, and how many it may bring to
// another life of the pool. Both are the edge's word alone, so both have bounds.

// Lost says that the connection to an edge is gone. Its leases end when the grace
// period is over, unless Hold confirms them before. Those with a time limit go on as long as that, but no
// longer than Config.LeaseTime.
func (p *Pool) Lost(now Instant, edge EdgeID) {
	p.cut(now, edge, now.Add(p.cfg.Grace), now.Add(p.cfg.LeaseTime))
}

// Left says that an edge went in good order: its routed leases end with it.
// Redirected ones, which have a limit of their own, go on for Config.LeaseTime at most.
func (p *Pool) Left(now Instant, edge EdgeID) {
	p.cut(now, edge, now, now.Add(p.cfg.LeaseTime))
	p.Expire(now)
}

// Denied says that an edge is not to be believed any more: all its leases end.
func (p *Pool) Denied(now Instant, edge EdgeID) {
	p.cut(now, edge, now, now)
	p.Expire(now)
}

// cut has an edge's leases end: those without a time limit at a time, those with one by another.
func (p *Pool) cut(now Instant, edge EdgeID, at, by Instant) {
	n, known := p.edgeNo[edge]
	if !known || n == 0 {
		return
	}
	p.forgetExclusions(&p.edges[n])
	p.edges[n].gone = true
	if p.lastEdge == n {
		p.lastEdge = 0 // so that it is no more gone when it asks again
	}
	for i := range p.ledger.leases {
		switch l := &p.ledger.leases[i]; {
		case l.id == 0 || l.edge != n:
		case l.expires == 0:
			p.ledger.limit(l, at)
		case l.expires > by:
			p.ledger.limit(l, by)
		}
	}
}

// Bounds of leases that edges bring from another life of the pool.
const (
	mostAdopted = 1 << 20 // open at a time
	mostUntold  = 1 << 14 // servers that are known by them alone
	mostBrought = 1 << 16 // on a server that declares no slots, with all that it has
	fewBrought  = 64      // any server may have them, also one whose slots have just become fewer
	slotsTaken  = 4       // by as many times a server may have been overcommitted that declares slots
)

// bearable returns an error if no server can have one lease more of those that edges bring. s is nil if the
// pool does not know it.
func (p *Pool) bearable(s *Server) error {
	switch {
	case len(p.ledger.adopted) >= mostAdopted:
		return fmt.Errorf("%d leases that edges have brought are open, the most that can be", mostAdopted)
	case s == nil && p.untold >= mostUntold:
		return fmt.Errorf("%d servers are known by leases alone, the most that can be", mostUntold)
	case s == nil:
		return nil
	}
	most := float64(mostBrought)
	if declared := s.declaredSlots(); declared > 0 {
		most = fewBrought + slotsTaken*declared
	}
	if float64(s.ownLeases()) >= most {
		return errTooManyBrought
	}
	return nil
}

var errTooManyBrought = errors.New("it has many more leases than it can serve")

// isKnown says that a server is not known by leases alone any more.
func (p *Pool) isKnown(s *Server) {
	if s.since.departure == byLease {
		s.since.departure = nil
		p.untold--
	}
}
