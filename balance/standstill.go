package balance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file finds servers that stand still: they owe an answer, and nothing has come from them
// for long, while others answer. A single request that takes longer than all others looks the
// same, so such a server is first only suspect, and gets the next request whatever its score
// is. While that is without a sign of life too, the server gets nothing new but one such request
// once in a while. Leases on it go on, however long their requests take.

const (
	standstill     = 5 * time.Second        // without a sign, at least, and
	standstillP99  = 5                      // times as long as 99 of 100 requests take
	trialTime      = 500 * time.Millisecond // without a sign, after which the first request that tries the server shows that it stands still
	firstTrial     = 15 * time.Second       // from the first trial to the second; doubles with each
	longestTrial   = 5 * time.Minute
	standstillGood = 20 // answers of a pool before anything is known of how long requests take
)

// Alive takes a sign of life of a server: its application answered, in whatever way.
func (p *Pool) Alive(now Instant, id ServerID) {
	if s := p.byID[id]; s != nil {
		p.alive(now, s, now)
		for _, c := range s.counterparts() {
			c.pool.alive(now, c, now)
		}
	}
}

// alive takes a sign of life that came at an instant.
func (p *Pool) alive(now Instant, s *Server, at Instant) {
	s.sign = max(s.sign, at)
	if s.isHeldForSilence() && at >= s.held.since {
		p.release(now, s)
		p.rank(now, s)
	}
}

// isSign reports whether a lease that ends so shows that its server lives.
func (o *Outcome) isSign() bool {
	switch o.Result {
	case OK, ClientError, Full, Fault, Broken, Refused:
		return true
	}
	return false
}

// isSign reports whether a report shows that the application lives: what an agent measures
// of a process, from outside, does not. One without figures is nothing but a sign of life.
func (r *Report) isSign() bool {
	for i := range r.Metrics {
		switch name := r.Metrics[i].Name; {
		case name == CPUUtilization, name == MemUtilization:
		default:
			return true
		}
	}
	return len(r.Metrics) == 0
}

// Owes takes an edge's word whether the server of one of its leases owes anything: it does not
// while the edge waits for the client, to send more or to take what has come. What it does not
// owe is no silence.
func (p *Pool) Owes(now Instant, edge EdgeID, id LeaseID, owes bool) {
	l := p.ledger.find(id)
	if l == nil || p.edges[l.edge].id != edge {
		return
	}
	p.owes(now, l, owes)
}

func (p *Pool) owes(now Instant, l *lease, owes bool) {
	s := l.server
	switch {
	case l.idle == !owes:
		return
	case owes:
		p.beginsToOwe(now, s)
		s.idle--
	default:
		s.idle++
	}
	l.idle = !owes
	for _, c := range s.counterparts() {
		if owes {
			c.pool.beginsToOwe(now, c)
			c.addShared(0, -1)
		} else {
			c.addShared(0, 1)
		}
	}
}

// beginsToOwe says that the server is about to owe an answer, if it owed none. Where those that it
// owed before have ended without a sign, as clients gave up, its silence goes on from there.
func (p *Pool) beginsToOwe(now Instant, s *Server) {
	switch {
	case s.owed() > 0 || s.isHeldForSilence():
	case s.gaveUp > s.sign:
		s.sign = s.sign.Add(now.Sub(s.gaveUp))
	default:
		s.sign = now
	}
}

// silentFor returns how long the server has owed an answer and shown no sign; the time between
// requests that ended without one does not count.
func (s *Server) silentFor(now Instant) time.Duration {
	switch {
	case s.owed() > 0:
		return now.Sub(s.sign)
	case s.gaveUp > s.sign:
		return s.gaveUp.Sub(s.sign)
	}
	return 0
}

// owed returns the number of leases on which the server owes something.
func (s *Server) owed() int32 { return s.leases - s.idle }

// findStandstill looks whether the server is suspect. It is called ten times a second, and when
// a request has ended without a sign.
func (p *Pool) findStandstill(now Instant, s *Server) {
	still := s.silentFor(now)
	if still < standstill {
		return // nearly always
	}
	if s.isLimited() && now < s.held.until || s.State(now) != Up || p.good < standstillGood || p.answered <= s.sign || now.Sub(p.answered) > still/2 {
		return // the pool does not go on either
	}
	if s.isHeldForSilence() || still < standstillP99*p.longRequest(now, s) {
		return
	}
	if float64(s.leases) >= p.ceiling(now, s) {
		return // it gets nothing new, and can show nothing
	}
	p.restrain(now, s, heldForSilence, s.leases, 0)
	if !slices.Contains(p.silent, s) {
		p.silent = append(p.silent, s)
	}
	p.rank(now, s)
}

// isHeldForSilence reports whether the server is suspect, or was found to stand still.
func (s *Server) isHeldForSilence() bool { return s.isHeld && s.held.why == heldForSilence }

// isTried reports whether a server that is held for silence has been given a request since.
func (h *hold) isTried() bool { return h.length() > 0 }

// isSilent reports whether the server stands still as far as is known: a trial has shown nothing.
func (s *Server) isSilent(now Instant) bool {
	h := &s.held
	return s.isHeldForSilence() && (h.length() > firstTrial || h.isTried() && now.Sub(h.since) >= trialTime)
}

// onTrial returns the server that the request is to try; nil: none. A redirected request shows
// nothing, for its answer does not pass an edge. A nil request is any.
func (p *Pool) onTrial(now Instant, req *Request) *Server {
	if req != nil && req.Link == LinkRedirect {
		return nil
	}
	p.silent = slices.DeleteFunc(p.silent, func(s *Server) bool { return !s.isHeldForSilence() })
	for _, s := range p.silent {
		if now >= s.held.until && s.State(now) == Up && !p.isCapped(now, s) && float64(s.leases) < p.ceiling(now, s) &&
			(req == nil || s.suits(now, req, p.beyond(now, req.Edge))) {
			return s
		}
	}
	return nil
}

// try notes that a server that is held for silence is given a request all the same.
func (p *Pool) try(now Instant, s *Server) {
	next := firstTrial
	if s.held.isTried() {
		next = min(2*s.held.length(), longestTrial)
	}
	p.restrain(now, s, heldForSilence, s.leases, next)
	p.rank(now, s)
}

// longRequest returns how long 99 of 100 requests take at the server or, where that is longer or
// not known, at the slowest of the others.
func (p *Pool) longRequest(now Instant, s *Server) (long time.Duration) {
	if v := s.traffic.view(now); v.Measured {
		return v.P99
	}
	for _, other := range p.servers {
		if v := other.traffic.view(now); v.Measured {
			long = max(long, v.P99)
		}
	}
	return long
}

// stillOutage says that the server stands still.
func (p *Pool) stillOutage(now Instant, s *Server) Outage {
	return Outage{Kind: OutSilent, Since: max(0, now.Sub(s.since.held)), By: "its silence", Next: tried(now, s.held.until) + ", or when it shows a sign of life",
		What: "nothing has come from it for " + s.silence(now)}
}

// silence says for how long nothing has come from the server, and on how many requests.
func (s *Server) silence(now Instant) string {
	n := int(s.owed())
	if n == 0 {
		return fmt.Sprintf("%v, and the clients that waited have given up", inWords(now.Sub(s.sign)))
	}
	return fmt.Sprintf("%v, with %d %s open", inWords(now.Sub(s.sign)), n, pluralOf("request", n))
}

func pluralOf(what string, n int) string {
	if n == 1 || strings.HasSuffix(what, "s") {
		return what
	}
	return what + "s"
}
