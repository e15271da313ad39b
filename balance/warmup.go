package balance

import (
	"math"
	"time"
)

// A server that is new or comes back is given work by and by: its caches are cold, and
// if it is broken, little is lost.
const (
	warmTime  = 10 * time.Second
	warmStart = .1
)

// warm starts a server's warming up at an instant.
func (p *Pool) warm(s *Server, from Instant) {
	s.warmFrom = from
	p.warmUntil = max(p.warmUntil, from.Add(warmTime))
	p.returns = min(p.returns, from)
}

// warmth is how many leases a server may have: no more than the mean of those that
// were warm when they were last counted, and of that a part that grows. Without any
// that are warm, all are equal.
func (p *Pool) warmth(now Instant, s *Server) float64 {
	age := now.Sub(s.warmFrom)
	if age >= warmTime {
		return math.Inf(1)
	}
	return max(1, p.mean*(warmStart+(1-warmStart)*max(0, age.Seconds())/warmTime.Seconds()))
}
