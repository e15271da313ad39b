package balance

import (
	"fmt"
	"slices"
	"time"
)

// This file says which servers may take a request. The policy chooses among those.

// candidates returns the servers that may take the request, best kind first: up, within
// the edge's reach and with room; failing those, up but still warming up; failing those and
// if the request cannot wait, up and said to be full; and if none is left, all that are
// ejected or beyond the edge's reach, as a refusal for certain would help no client.
func (p *Pool) candidates(now Instant, req *Request) []*Server {
	beyond := p.beyond(now, req.Edge)
	if room := p.filter(now, req, beyond, p.hasRoom); len(room) > 0 {
		return room
	}
	if room := p.filter(now, req, beyond, p.belowLimit); len(room) > 0 {
		return room
	}
	if p.mayWait(now, req, beyond) {
		if p.queue.size > 0 || p.backups > 0 && req.side&backups == 0 && p.takesOn(now, req, backups) {
			return nil
		}
		if room := p.filter(now, req, beyond, func(now Instant, s *Server) bool { return !p.isCapped(now, s) }); len(room) > 0 {
			return room
		}
	}
	return p.lastResort(now, req, beyond)
}

// lastResort returns the servers to try if none that is up is within the edge's reach.
func (p *Pool) lastResort(now Instant, req *Request, beyond *beyond) []*Server {
	p.scratch = p.scratch[:0]
	servers, _ := p.among(now, req)
	for _, s := range servers {
		if !s.suits(now, req, nil) || p.isCapped(now, s) {
			continue
		}
		switch s.State(now) {
		case Up:
			if beyond.has(now, s) && p.belowLimit(now, s) {
				p.scratch = append(p.scratch, s)
			}
		case Ejected:
			p.scratch = append(p.scratch, s)
		}
	}
	return p.scratch
}

func (p *Pool) filter(now Instant, req *Request, beyond *beyond, room func(Instant, *Server) bool) []*Server {
	p.scratch = p.scratch[:0]
	servers, _ := p.among(now, req)
	for _, s := range servers {
		if s.State(now) == Up && s.suits(now, req, beyond) && room(now, s) {
			p.scratch = append(p.scratch, s)
		}
	}
	return p.scratch
}

// suits reports whether the request itself, and what its edge can reach, leave the server open.
func (s *Server) suits(now Instant, req *Request, beyond *beyond) bool {
	return (len(req.Exclude) == 0 || !slices.Contains(req.Exclude, s.spec.ID)) &&
		(len(req.Labels) == 0 || s.carries(req.Labels)) && req.side.includes(s) && !beyond.has(now, s)
}

// mayWait reports whether a server is up that could take the request later.
func (p *Pool) mayWait(now Instant, req *Request, beyond *beyond) bool {
	servers, _ := p.among(now, req)
	return slices.ContainsFunc(servers, func(s *Server) bool { return s.State(now) == Up && s.suits(now, req, beyond) })
}

// anyRoom reports whether a server has room for some request.
func (p *Pool) anyRoom(now Instant) bool {
	return p.room.any() || len(p.silent) > 0 && p.onTrial(now, nil) != nil
}

// refuseTenant says that a tenant has as many requests as it may.
func (p *Pool) refuseTenant(t *tenant) *Refusal {
	return &Refusal{Reason: Saturated, RetryAfter: time.Second, Detail: fmt.Sprintf("pool %s: tenant %q has %d requests, its max_in_flight", p.cfg.Name, t.place.tenant, t.leases)}
}

// refuse says why no server can take the request now.
func (p *Pool) refuse(now Instant, req *Request) *Refusal {
	if p.mayWait(now, req, nil) {
		return &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(), Detail: p.allAtLimit}
	}
	var draining, maintained, excluded, unlabelled int
	for _, s := range p.servers {
		switch {
		case s.outKind(now) == OutMaintenance:
			maintained++
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
	}{{draining, "draining"}, {maintained, "in maintenance"}, {excluded, "have already failed this request"}, {unlabelled, "without the labels asked for"}} {
		if why.n > 0 {
			detail += fmt.Sprintf(", %d %s", why.n, why.what)
		}
	}
	return &Refusal{Reason: NoServer, RetryAfter: time.Second, Detail: detail}
}
