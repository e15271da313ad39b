package policy

import (
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// RoundRobin gives each server its turn, as often as its declared weight says and spread
// evenly between the others': the smooth form that nginx made known. The server with
// the most credit goes next and pays what all have gained.
type RoundRobin struct {
	credit map[balance.ServerID]float64
}

// Choose takes the next in turn.
func (p *RoundRobin) Choose(_ balance.Instant, _ *balance.Request, candidates []*balance.Server, _ *rand.Rand) int {
	if p.credit == nil || len(p.credit) > 4*len(candidates)+64 {
		p.credit = make(map[balance.ServerID]float64, len(candidates)) // servers that left stop counting
	}
	best, most, total := 0, 0., 0.
	for i, s := range candidates {
		w := declared(s)
		total += w
		credit := p.credit[s.ID()] + w
		p.credit[s.ID()] = credit
		if i == 0 || credit > most {
			best, most = i, credit
		}
	}
	p.credit[candidates[best].ID()] -= total
	return best
}
