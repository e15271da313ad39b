package balance

// LeaseEnd is the end of a lease of a pool that dispatches. Its server has accepted the request, or was asked to, and
// goes on working until it hears of the end.
type LeaseEnd struct {
	Lease  LeaseID
	Server ServerID
	Result Result
}

// TakeEnds returns the leases that have ended since it was called last, in their order; nil: none have. Only a pool with
// Config.Dispatch keeps them. Leases that Resign ends have only moved to another ledger.
func (p *Pool) TakeEnds() []LeaseEnd {
	ends := p.ends
	p.ends = nil
	return ends
}

// noteEnd keeps the end of a lease.
func (p *Pool) noteEnd(id LeaseID, s *Server, r Result) {
	if p.cfg.Dispatch && !p.resigning {
		p.ends = append(p.ends, LeaseEnd{id, s.spec.ID, r})
	}
}
