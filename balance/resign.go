package balance

// Resign ends every lease of an edge: the pool is led elsewhere, and there the edges
// hold them now. Leases of no edge stay until their time is over. It returns how
// many have ended.
func (p *Pool) Resign(now Instant) (ended int) {
	p.ledger.resigning = true
	defer func() { p.ledger.resigning = false }()
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 && l.edge != 0 {
			p.end(now, l, Outcome{Result: Expired})
			ended++
		}
	}
	return ended
}
