package balance

import (
	"slices"
	"time"
)

// This file says in words why a server gets nothing, or less, for those who ask.

// What is said of a choice for which no server was left.
const (
	allOut     = "all servers that could take it are out, so all are tried"
	allSayFull = "all servers that could take it say that they are full, so all are tried"
)

// special says what is special about the choice of a server.
func (p *Pool) special(now Instant, req *Request, s *Server) string {
	switch {
	case s.State(now) != Up || p.beyond(now, req.Edge).has(now, s):
		return allOut
	case s.isHeldForSilence() && req.Link != LinkRedirect:
		return "it is tried: nothing had come from it for " + s.silence(now)
	case s.isHeld && !s.holdRoom(now):
		return allSayFull
	}
	return p.sideSpecial(req, s)
}

// byItsEdge is the note of a local choice.
const byItsEdge = "chosen by its edge, by its own counts: an ask takes longer than it wins"

func inWords(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// obstacle says in a word or two why a server is not a candidate.
func (p *Pool) obstacle(now Instant, req *Request, s *Server) string {
	switch state := s.State(now); {
	case state == Ejected && s.obstacle != "":
		return "unhealthy: " + s.obstacle
	case s.outKind(now) == OutMaintenance:
		return "in maintenance"
	case state != Up:
		return state.String()
	case slices.Contains(req.Exclude, s.spec.ID):
		return "excluded: it has already failed this request"
	case !s.carries(req.Labels):
		return "lacks the labels asked for"
	case p.beyond(now, req.Edge).has(now, s):
		return "excluded: this edge cannot reach it"
	case s.isHeld && !s.holdRoom(now) && s.held.why == heldForFull:
		return "full, as it says"
	case s.isHeldForSilence() && !s.holdRoom(now):
		return "silent: nothing has come from it for " + s.silence(now)
	case s.isHeld && !s.holdRoom(now):
		return "held back: it fails"
	case s.leases >= s.mostDeclared():
		return "at its max_in_flight"
	case s.leases >= s.cap:
		return "full: it refuses more"
	case p.isCapped(now, s):
		return "its max_in_flight may be reached: edges have not told all their leases"
	case float64(s.leases) >= p.ceiling(now, s):
		return "at its limit"
	}
	return "warming up"
}
