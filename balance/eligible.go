package balance

import (
	"fmt"
	"slices"
	"time"
)

// This file says which servers may take a request. The policy chooses among those.

// candidates returns the servers that may take the request, best kind first: up and
// with room; failing those, up but still warming up; failing those and if nobody may
// wait, up at all; and if every server is ejected, those, as a refusal for certain
// would help nobody.
func (p *Pool) candidates(now Instant, req *Request) []*Server {
	if room := p.filter(now, req, Up, func(s *Server) bool {
		return p.hasRoom(now, s)
	}); len(room) > 0 {
		return room
	}
	if room := p.filter(now, req, Up, func(s *Server) bool { return float64(s.leases) < p.ceiling(now, s) }); len(room) > 0 || p.mayWait(now, req) {
		return room
	}
	return p.filter(now, req, Ejected, func(*Server) bool { return true })
}

func (p *Pool) filter(now Instant, req *Request, state State, room func(*Server) bool) []*Server {
	p.scratch = p.scratch[:0]
	for _, s := range p.servers {
		if s.State(now) == state && s.suits(req) && room(s) {
			p.scratch = append(p.scratch, s)
		}
	}
	return p.scratch
}

// suits tells whether the request itself leaves the server open.
func (s *Server) suits(req *Request) bool {
	return (len(req.Exclude) == 0 || !slices.Contains(req.Exclude, s.spec.ID)) &&
		(len(req.Labels) == 0 || s.carries(req.Labels))
}

// mayWait tells whether a server is up that could take the request later.
func (p *Pool) mayWait(now Instant, req *Request) bool {
	return slices.ContainsFunc(p.servers, func(s *Server) bool { return s.State(now) == Up && s.suits(req) })
}

func (p *Pool) anyRoom(now Instant) bool {
	if p.scorer != nil && p.order.first() >= 0 {
		return true
	}
	return slices.ContainsFunc(p.servers, func(s *Server) bool { return s.State(now) == Up && float64(s.leases) < p.ceiling(now, s) })
}

// refuse says why no server can take the request now.
func (p *Pool) refuse(now Instant, req *Request) *Refusal {
	if p.mayWait(now, req) {
		return &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(), Detail: fmt.Sprintf("pool %s: every server is at its limit", p.cfg.Name)}
	}
	var draining, excluded, unlabelled int
	for _, s := range p.servers {
		switch {
		case s.draining || s.gone:
			draining++
		case slices.Contains(req.Exclude, s.spec.ID):
			excluded++
		default:
			unlabelled++
		}
	}
	detail := fmt.Sprintf("pool %s: %d servers", p.cfg.Name, len(p.servers))
	for _, why := range []struct {
		n    int
		what string
	}{{draining, "draining"}, {excluded, "have already failed this request"}, {unlabelled, "without the labels asked for"}} {
		if why.n > 0 {
			detail += fmt.Sprintf(", %d %s", why.n, why.what)
		}
	}
	return &Refusal{Reason: NoServer, RetryAfter: time.Second, Detail: detail}
}
