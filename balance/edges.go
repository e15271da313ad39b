package balance

// This file gives edges their numbers, which leases carry, and takes them back. Ids are chosen
// by peers: without that each id that ever asked would stay.

const fewEdges = 64 // are not worth looking through

// edge returns the number of an edge, which most often is the one that asked last.
func (p *Pool) edge(id EdgeID) int32 {
	if p.edges[p.lastEdge].id == id {
		return p.lastEdge
	}
	n, ok := p.edgeNo[id]
	if !ok {
		n = p.number()
		p.edges[n] = edge{id: EdgeID(string([]byte(id)))}
		p.edgeNo[p.edges[n].id] = n
	}
	p.edges[n].gone = false
	p.lastEdge = n
	return n
}

// edgeElsewhere returns the number of an edge that has used another pool. It may never use this one: then it is forgotten like one that
// has gone.
func (p *Pool) edgeElsewhere(id EdgeID) int32 {
	n, ok := p.edgeNo[id]
	if !ok {
		n = p.number()
		p.edges[n] = edge{id: EdgeID(string([]byte(id))), gone: true}
		p.edgeNo[p.edges[n].id] = n
	}
	return n
}

// beyond returns the servers that the edge cannot reach now; nil: none.
func (p *Pool) beyond(now Instant, id EdgeID) *beyond {
	if p.exclusions == 0 {
		return nil // nearly always
	}
	return p.edges[p.edge(id)].active(now)
}

// waitingOf returns the count of an edge's requests that wait.
func (p *Pool) waitingOf(id EdgeID) *int {
	e := &p.edges[p.edge(id)]
	if e.waiting == nil {
		e.waiting = new(int)
	}
	return e.waiting
}

// number returns one that no edge has. When there are twice as many edges as were left last
// time, it first forgets those that have gone with all their leases.
func (p *Pool) number() int32 {
	if len(p.edgesFree) == 0 && len(p.edges) >= max(fewEdges, 2*p.edgesSwept) {
		p.sweepEdges()
	}
	if n := len(p.edgesFree); n > 0 {
		free := p.edgesFree[n-1]
		p.edgesFree = p.edgesFree[:n-1]
		return free
	}
	p.edges = append(p.edges, edge{})
	return int32(len(p.edges) - 1)
}

// sweepEdges looks through the ledger once for all.
func (p *Pool) sweepEdges() {
	holds := make([]bool, len(p.edges))
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 {
			holds[l.edge] = true
		}
	}
	for _, s := range p.servers {
		if s.answers.last != nil {
			holds[s.answers.last.edge] = true // the last failure names its edge
		}
	}
	for n := 1; n < len(p.edges); n++ { // 0 is no edge
		if e := &p.edges[n]; e.gone && !holds[n] && e.id != "" && (e.waiting == nil || *e.waiting == 0) {
			delete(p.edgeNo, e.id)
			*e = edge{}
			p.edgesFree = append(p.edgesFree, int32(n))
			p.forgetReachOf(int32(n))
		}
	}
	p.edgesSwept = len(p.edges) - len(p.edgesFree)
}

// forgetReachOf drops what an edge has reached, before another has its number.
func (p *Pool) forgetReachOf(n int32) {
	for _, s := range p.servers {
		for i := range s.reaches {
			if s.reaches[i].edge == n {
				s.reaches[i].at = 0
			}
		}
	}
}
