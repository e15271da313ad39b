package balance

import (
	"strings"
	"time"
)

// This file keeps what one edge cannot reach from that edge alone: a firewall, a wrong CA
// or a broken route at one edge says nothing about the server. Only when every edge that
// tried of late has failed is the server given up for all, and where several edges ask, two must
// have failed: what one could not reach is kept from that one anyway.

// edge is what a pool knows of one edge.
type edge struct {
	id      EdgeID
	gone    bool    // it is not connected, and has asked for nothing since
	beyond  *beyond // servers that it cannot reach; nil: none
	waiting *int    // its requests in the queue that ask for no labels; nil: none has ever waited
	placed  uint64  // its requests that got a server while there were any exclusions
}

// beyond is the servers that one edge cannot reach.
type beyond struct {
	edge    int32
	servers map[*Server]*exclusion
	until   Instant // none of them is excluded from then on
	order   *order  // of the servers that it reaches; nil: no request needed it, or too many edges have one
}

// exclusion is one server that one edge does not get.
type exclusion struct {
	since Instant // the first failure
	last  Instant // the last failure
	until Instant
	inRow uint8
	err   string

	placed uint64 // edge.placed, as far as it is accounted for
}

const (
	triedLately      = 5 * time.Second
	longestExclusion = 15 * time.Second
	quickExclusion   = 2 * time.Second // the longest where to find out takes no time, as when a connection is refused
	exclusionTimes   = 20              // the longest over what it takes to find out, in between
	mostExclusions   = 1 << 16         // in a pool; what is beyond is tried and retried
	exclusionMemory  = time.Minute
	reachedBy        = 4
)

// reaches is the edges that reached a server last, newest first.
type reaches [reachedBy]struct {
	edge int32
	at   Instant // zero: none
}

// others takes that an edge has failed, and reports whether another reached the server lately
// and has not failed since.
func (r *reaches) others(now Instant, edge int32) (lately bool) {
	for i := range r {
		if r[i].edge == edge {
			r[i].at = 0
		}
		lately = lately || r[i].at != 0 && now.Sub(r[i].at) <= triedLately
	}
	return lately
}

// reached takes that an edge has had an answer from the server.
func (p *Pool) reached(now Instant, s *Server, edge int32) {
	r := &s.reaches
	if r[0].edge != edge { // most often it is the same again
		at := 1
		for at < len(r)-1 && r[at].edge != edge {
			at++
		}
		copy(r[1:at+1], r[:at])
		r[0].edge = edge
	}
	r[0].at = now
	if b := p.edges[edge].beyond; b != nil && b.servers[s] != nil {
		p.account(now, s)
		p.include(&p.edges[edge], s)
	}
	if s.health.cause == byReach && now < s.health.ejectedUntil && s.obstacle == "" {
		p.account(now, s)
		s.health.ejectedUntil = now
		p.version++
		p.warm(s, now)
	}
}

// unreachable takes that the edge of a lease could not reach the server.
func (p *Pool) unreachable(now Instant, s *Server, l *lease) {
	e, longest := &p.edges[l.edge], longestOut(now.Sub(l.started))
	if e.beyond == nil {
		e.beyond = &beyond{edge: l.edge, servers: make(map[*Server]*exclusion)}
	}
	x := e.beyond.servers[s]
	if x == nil && p.exclusions < mostExclusions {
		p.account(now, s)
		x = &exclusion{since: now, placed: e.placed}
		e.beyond.servers[s] = x
		p.exclusions++
		s.unreached++
	}
	if x != nil && now >= x.until { // else late word of what excluded it
		p.account(now, s)
		x.last, x.inRow = now, min(x.inRow+1, maxDoublings+1)
		x.until = now.Add(min(firstUnreach<<(x.inRow-1), longest))
		x.err = s.answers.last.outcome.Error
		e.beyond.until = max(e.beyond.until, x.until)
		p.wakeAt(s, x.until)
	}
	if s.reaches.others(now, l.edge) || s.unreached < 2 && p.anotherAsks(l.edge) {
		return
	}
	if p.eject(now, s, byReach, firstUnreach, longest) {
		p.version++
		p.warm(s, s.health.ejectedUntil)
	}
}

// anotherAsks reports whether an edge other than this one asks for the pool's servers.
func (p *Pool) anotherAsks(edge int32) bool {
	for i := range p.edges {
		if i != 0 && int32(i) != edge && !p.edges[i].gone {
			return true
		}
	}
	return false
}

// longestOut returns the longest that a server is left out which could not be reached after a time, so that no more than a
// part of it is spent on finding out whether it still cannot.
func longestOut(after time.Duration) time.Duration {
	return max(quickExclusion, min(exclusionTimes*after, longestExclusion))
}

// include ends an exclusion, if there is one.
func (p *Pool) include(e *edge, s *Server) {
	if _, ok := e.beyond.servers[s]; !ok {
		return
	}
	delete(e.beyond.servers, s)
	p.exclusions--
	s.unreached--
	if len(e.beyond.servers) == 0 {
		e.beyond.until = 0 // its order goes with the next change
		e.beyond = nil
	}
}

// forgetReach drops what is known of a server that is forgotten.
func (p *Pool) forgetReach(s *Server) {
	for i := range p.edges {
		if p.exclusions == 0 {
			return
		}
		if e := &p.edges[i]; e.beyond != nil {
			p.include(e, s)
		}
	}
}

// forgetExclusions drops what an edge cannot reach: it has left or begins anew.
func (p *Pool) forgetExclusions(e *edge) {
	if e.beyond != nil {
		p.exclusions -= len(e.beyond.servers)
		for s := range e.beyond.servers {
			s.unreached--
		}
		e.beyond.until = 0
		e.beyond = nil
	}
}

// fadeExclusions drops what has not been tried for long, a few edges at a time.
func (p *Pool) fadeExclusions(now Instant) {
	for range min(len(p.edges), 16) {
		p.edgeMaintained = (p.edgeMaintained + 1) % len(p.edges)
		e := &p.edges[p.edgeMaintained]
		if e.beyond == nil || now < e.beyond.until.Add(exclusionMemory) {
			continue
		}
		p.forgetExclusions(e)
	}
}

// active returns what the edge cannot reach now, nil if that is nothing.
func (e *edge) active(now Instant) *beyond {
	if e.beyond == nil || now >= e.beyond.until {
		return nil
	}
	return e.beyond
}

// has reports whether the server is excluded. b may be nil.
func (b *beyond) has(now Instant, s *Server) bool {
	if b == nil {
		return false
	}
	x := b.servers[s]
	return x != nil && now < x.until
}

func clipText(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Clone(s)
}
