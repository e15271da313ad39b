package balance

import (
	"math"
	"time"
)

// A server that is new or comes back is given work gradually: its caches are cold, and
// if it is broken, little is lost. It may have one request more with each that it answers, so
// that one which works has its share back after a few, and in any case more as time goes by.
const (
	warmTime  = 10 * time.Second
	warmStart = .1
)

// warm starts a server's warming up at an instant.
func (p *Pool) warm(s *Server, from Instant) {
	s.warmFrom, s.proven = from, 0
	p.warmUntil = max(p.warmUntil, from.Add(warmTime))
	p.wakeAt(s, from)
}

// prove takes a good answer of a server, to a request that it was given at an instant. One that comes back from
// an ejection for its answers proves nothing by a few: if it failed for having too much, it would have it again at once.
func (p *Pool) prove(now Instant, s *Server, given Instant) {
	if now < p.warmUntil && given >= s.warmFrom && !s.health.cause.forAnswers() {
		s.proven = min(s.proven+1, math.MaxInt32)
	}
}

// warmth is how many leases a server may have: no more than the mean of those that
// were warm when they were last counted, and of that a part that grows, or one more than it has given
// good answers. Without any that are warm, all are equal.
func (p *Pool) warmth(now Instant, s *Server) float64 {
	age := now.Sub(s.warmFrom)
	if age >= warmTime {
		return math.Inf(1)
	}
	return max(1+float64(s.proven), p.mean*(warmStart+(1-warmStart)*max(0, age.Seconds())/warmTime.Seconds()))
}
