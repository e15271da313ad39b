package balance

import (
	"time"
)

// Standing is where a request stands in its pool's queue.
type Standing struct {
	Position int           // 1 is next
	Wait     time.Duration // until a server is expected for it, by how fast the queue moves; zero: unknown
}

// Standings calls do with each request that waits, in about the order in which they are served: tenants take turns.
func (p *Pool) Standings(do func(WaitID, Standing)) {
	position := 0
	var rest []*line
	for _, b := range p.queue.bands {
		rest = append(rest[:0], b.tenants...)
		for depth := 0; len(rest) > 0; depth++ {
			left := rest[:0]
			for _, l := range rest {
				if depth == len(l.waiting) {
					continue
				}
				position++
				do(l.waiting[depth].id, p.StandingAt(position))
				left = append(left, l)
			}
			rest = left
		}
	}
}

// StandingAt returns what a position means.
func (p *Pool) StandingAt(position int) Standing {
	return Standing{Position: position, Wait: time.Duration(float64(position) * p.perWaiting * float64(time.Second))}
}
