package balance

// LeaseEnd is the end of a lease of a pool that dispatches. Its server has accepted the request, or was asked to, and
// goes on working until it hears of the end.
type LeaseEnd struct {
	Lease  LeaseID
	Server ServerID
	Result Result
}

// leaseEnds are the ends of leases that the pool's owner has not taken yet.
type leaseEnds struct {
	ends      []LeaseEnd
	resigning bool // leases that end now have moved to another ledger
}

// TakeEnds returns the leases that have ended since it was called last, in their order; nil: none have. Only a pool with
// Config.Dispatch keeps them. Leases that Resign ends have only moved to another ledger.
func (p *Pool) TakeEnds() []LeaseEnd {
	ends := p.ledger.ends
	p.ledger.ends = nil
	return ends
}

// noteEnd keeps the end of a lease.
func (p *Pool) noteEnd(id LeaseID, s *Server, r Result) {
	if p.cfg.Dispatch && !p.ledger.resigning {
		p.ledger.ends = append(p.ledger.ends, LeaseEnd{id, s.spec.ID, r})
	}
}
