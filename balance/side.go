package balance

import (
	"slices"
)

// This file divides the servers of a pool that has a canary or backups. A request is given to a server of one side; which side that is
// depends on the request and on the canary's share, and is decided anew each time that a server is looked for.
//
//   - ordinary servers take the requests that nothing else is said of,
//   - canaries take a share of those (canary.go),
//   - backups take what would be refused otherwise: no other server is up, or all are full and the queue takes no more.

// side is a set of kinds of servers. Zero stands for all.
type side uint8

const (
	ordinary side = 1 << iota
	canaries
	backups
	anySide side = 0
)

// sideOf returns the kind of a server of which that is declared.
func (p *Pool) sideOf(spec *ServerSpec) side {
	switch {
	case spec.Backup:
		return backups
	case p.canary != nil && carries(spec.Labels, p.canary.Labels):
		return canaries
	}
	return ordinary
}

// hasSides reports whether the pool has a canary or backups.
func (p *Pool) hasSides() bool { return p.canary != nil || p.backups > 0 }

// includes reports whether a server is of one of the kinds.
func (d side) includes(s *Server) bool { return d == anySide || d&s.side != 0 }

// assignSide brings up to date of which kind the server is. Its groups have to be brought up to date afterwards.
func (p *Pool) assignSide(s *Server) {
	if s.side == backups {
		p.backups--
	}
	if s.side = p.sideOf(&s.spec); s.side == backups {
		p.backups++
	}
}

// chooseSide returns the side on which a request gets its server, if it gets one now.
func (p *Pool) chooseSide(now Instant, req *Request) side {
	if p.canaryIsDue(now, req) && p.takesOn(now, req, canaries) {
		return canaries
	}
	return p.usualSide(now, req)
}

// usualSide returns the side of a request that the share does not send to the canary: the first of which a server is up. The canary
// comes after the backups, for it was to have no more than its share.
func (p *Pool) usualSide(now Instant, req *Request) side {
	sides := [...]side{ordinary, backups, canaries}
	if p.namesCanary(req) {
		sides[0] |= canaries
	}
	for _, d := range sides {
		if p.isUpOn(now, req, d) {
			return d
		}
	}
	return anySide
}

// isUpOn reports whether a server of the side is up that the request and its edge may use.
func (p *Pool) isUpOn(now Instant, req *Request, d side) (up bool) {
	p.onSide(req, d, func() { up = p.mayWait(now, req, p.beyond(now, req.Edge)) })
	return up
}

// takesOn reports whether a server of the side can take the request now.
func (p *Pool) takesOn(now Instant, req *Request, d side) (takes bool) {
	p.onSide(req, d, func() {
		servers, room := p.among(now, req)
		if room != nil && !room.any() {
			return
		}
		beyond := p.beyond(now, req.Edge)
		takes = slices.ContainsFunc(servers, func(s *Server) bool {
			return s.State(now) == Up && s.suits(now, req, beyond) && p.belowLimit(now, s)
		})
	})
	return takes
}

// onSide calls do while the request may only go to servers of the side.
func (p *Pool) onSide(req *Request, d side, do func()) {
	was := req.side
	req.side = d
	do()
	req.side = was
}

// chooseBackup returns a backup for a request that is refused otherwise, or nil.
func (p *Pool) chooseBackup(now Instant, req *Request) (s *Server) {
	if p.backups == 0 || !p.takesOn(now, req, backups) {
		return nil
	}
	p.onSide(req, backups, func() { s = p.chooseOn(now, req) })
	return s
}

// wouldRefuse reports whether a request for which no server has room would not be kept waiting either.
func (p *Pool) wouldRefuse(now Instant, req *Request) (refused bool) {
	giveUp := p.giveUpAt(now, now, req)
	if p.queue.length >= p.queue.size || giveUp <= now {
		return true
	}
	p.onSide(req, ordinary|canaries, func() { refused = p.refuseAll(now, req, giveUp) != nil })
	return refused
}

// plainRoom reports whether a server has room for a request that asks for no labels.
func (p *Pool) plainRoom(now Instant) bool {
	if !p.hasSides() {
		return p.room.any()
	}
	var plain Request
	plain.side = p.chooseSide(now, &plain)
	_, room := p.among(now, &plain)
	return room == nil || room.any()
}

// placedOn returns the side on which a request was given the server.
func (p *Pool) placedOn(req *Request, s *Server) side {
	if s.side == backups || !p.namesCanary(req) {
		return s.side
	}
	return ordinary | canaries
}

// What is said of a choice for the side on which it was made.
const (
	byShare   = "the canary's turn, by the pool's share"
	forBackup = "a backup, since it would be refused otherwise"
)

// sideSpecial says what is special about the side of a server that a request gets; empty: nothing.
func (p *Pool) sideSpecial(req *Request, s *Server) string {
	switch {
	case s.side == backups:
		return forBackup
	case s.side == canaries && p.takesPart(req):
		return byShare
	}
	return ""
}

// sideObstacle says why a server that is on another side than the request is not a candidate.
func (p *Pool) sideObstacle(now Instant, s *Server) string {
	switch s.side {
	case backups:
		return "a backup: others can take it"
	case canaries:
		if p.canary.isHeld(now) {
			return "a canary that is held back: " + p.canary.held
		}
		return "a canary: not its turn"
	}
	return "not a canary, whose turn it is"
}

// carries reports whether all labels that are wanted are among those that there are.
func carries(have, want []Label) bool {
	return !slices.ContainsFunc(want, func(l Label) bool { return !slices.Contains(have, l) })
}
