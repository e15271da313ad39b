package balance

import (
	"math"
	"strings"
	"time"
)

// This file lets a pool take over what the master before had learnt of servers' slots and service times. Edges have it from
// their last snapshots. A master that begins in overload could not learn it: every server is full, and answers that all
// meet a full server do not show how long a request takes alone.

// Basis says what a server's slots and service time in a Snapshot rest on.
type Basis uint8

const (
	BasisNone    Basis = iota // nothing: they are assumed
	BasisAnswers              // times of answers
	BasisFirm                 // a declaration, or a utilisation that the application reports: limits rest on it
)

// recollection is what the master before knew of a server.
type recollection struct {
	slots, service float64
	firm           bool
}

const (
	recallFor       = time.Minute // from the first word on, for servers that are not here yet
	mostRecalled    = 1 << 16     // of those
	recalledAnswers = 3           // that a service time from before is worth
	leastRecalled   = 1e-6        // seconds
	longestRecalled = 3600.       // seconds
)

// basis says what the server's slots and service time rest on.
func (s *Server) basis() Basis {
	switch c := &s.capacity; {
	case s.pool.times.weight < localAnswers || !c.known || c.assumed:
		return BasisNone
	case c.firm:
		return BasisFirm
	}
	return BasisAnswers
}

// Recall takes what an edge had from the master before. It counts for servers of which nothing has been learnt here; the first edge's word
// is taken, and answers and reports soon replace it. Figures that make no sense are ignored. told is not kept.
func (p *Pool) Recall(now Instant, told []SnapshotServer) {
	for i := range told {
		t := &told[i]
		if t.Basis == BasisNone || !(t.Slots >= 1 && t.Slots <= 1e6) || !(t.Service >= leastRecalled && t.Service <= longestRecalled) {
			continue
		}
		r := recollection{slots: t.Slots, service: t.Service, firm: t.Basis == BasisFirm}
		if s := p.byID[t.ID]; s != nil {
			p.recollect(now, s, r)
			continue
		}
		if p.recalled == nil {
			p.recalled, p.recallUntil = make(map[ServerID]recollection), now.Add(recallFor)
		}
		if _, known := p.recalled[t.ID]; !known && len(p.recalled) < mostRecalled {
			p.recalled[ServerID(strings.Clone(string(t.ID)))] = r
		}
	}
}

// recollectLater gives a server that has just come what was told of it before.
func (p *Pool) recollectLater(now Instant, s *Server) {
	if r, known := p.recalled[s.spec.ID]; known {
		delete(p.recalled, s.spec.ID)
		p.recollect(now, s, r)
	}
}

// forgetRecalled drops what was told of servers that have not come.
func (p *Pool) forgetRecalled(now Instant) {
	if p.recalled != nil && now >= p.recallUntil {
		p.recalled = nil
	}
}

// recollect takes up what was known of a server before.
func (p *Pool) recollect(now Instant, s *Server, r recollection) {
	if s.recalled().slots > 0 || s.knee.isTold() {
		return
	}
	if p.knownBefore == nil {
		p.knownBefore = make(map[ServerID]recollection)
	}
	p.knownBefore[s.spec.ID] = r
	if s.pace.weight < 1 {
		first, log := p.times.weight == 0, math.Log(r.service)
		for range recalledAnswers {
			p.times.observe(now, r.service*s.speed, log+math.Log(s.speed))
			s.pace.observe(now, log, p.times.rate)
		}
		p.times.derive(len(p.servers))
		if first { // from now on b is in seconds
			for _, other := range p.servers {
				p.assess(other)
				p.rank(now, other)
			}
		}
	}
	p.assess(s)
	p.survey(s)
	p.rank(now, s)
}

// recalled returns what the master before knew of the server; zero: nothing, or answers have ruled it out.
func (s *Server) recalled() recollection {
	if len(s.pool.knownBefore) == 0 {
		return recollection{} // nearly always
	}
	return s.pool.knownBefore[s.spec.ID]
}
