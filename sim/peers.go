package sim

import (
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file has the simple peers and what peers have in common. Every edge of theirs
// knows its own requests and, if the scenario is not blind, the servers' weights.

// local is a peer that only counts what its own edge has in flight: the counting is
// the world's.
type local struct {
	w       *world
	rng     *rand.Rand
	weights []float64 // 1 each if nothing is declared, or if the peer ignores them
	total   float64
}

func newLocal(w *world, seed uint64, weighted bool) local {
	l := local{w: w, rng: rand.New(rand.NewPCG(seed, 0x7065657273)), weights: make([]float64, len(w.fleet))}
	for i, k := range w.fleet {
		l.weights[i] = 1
		if weighted && (!w.s.Blind || w.view.weights) {
			l.weights[i] = k.weight()
		}
		l.total += l.weights[i]
	}
	return l
}

func (l *local) done(balance.Instant, *request) {}

func (l *local) report(balance.Instant, load) {}

// open returns which servers an edge would send a request to.
func (l *local) open(now balance.Instant, r *request) func(i int) bool {
	if !l.w.breaksDown {
		return everyone
	}
	any := false
	for i := range l.weights {
		any = any || l.isOpen(now, r, int32(i))
	}
	if !any {
		return everyone
	}
	return func(i int) bool { return l.isOpen(now, r, int32(i)) }
}

// draw returns one of the open servers, with a chance in proportion to its weight.
func (l *local) draw(open func(i int) bool) int32 {
	for {
		at, drawn := l.rng.Float64()*l.total, len(l.weights)-1
		for i, weight := range l.weights {
			if at -= weight; at < 0 {
				drawn = i
				break
			}
		}
		if open(drawn) {
			return int32(drawn)
		}
	}
}

// smooth is nginx's smooth weighted round robin: the server with the most credit is next and pays what all
// have gained.
type smooth struct{ credit []float64 }

func newSmooth(edges, servers int) []smooth {
	all := make([]smooth, edges)
	for e := range all {
		all[e].credit = make([]float64, servers)
	}
	return all
}

// next takes a turn among the servers that take part.
func (s smooth) next(weights []float64, part func(i int) bool) int32 {
	best, total := int32(-1), 0.
	for i, weight := range weights {
		if !part(i) {
			continue
		}
		s.credit[i] += weight
		total += weight
		if best < 0 || s.credit[i] > s.credit[best] {
			best = int32(i)
		}
	}
	s.credit[best] -= total
	return best
}

func everyone(int) bool { return true }

// roundRobin is each edge's own round, weighted or not.
type roundRobin struct {
	local
	turns []smooth
}

func (p *roundRobin) choose(now balance.Instant, _ int32, r *request) int32 {
	return p.turns[r.edge].next(p.weights, p.open(now, r))
}

// anyServer draws at random by weight.
type anyServer struct{ local }

func (p *anyServer) choose(now balance.Instant, _ int32, r *request) int32 {
	return p.draw(p.open(now, r))
}

// twoChoices draws two servers by weight and takes the emptier for its weight, as
// this edge sees it.
type twoChoices struct{ local }

func (p *twoChoices) choose(now balance.Instant, _ int32, r *request) int32 {
	open := p.open(now, r)
	a, b := p.draw(open), p.draw(open)
	mine := p.w.inFlight[r.edge]
	if float64(mine[b]+1)*p.weights[a] < float64(mine[a]+1)*p.weights[b] {
		return b
	}
	return a
}

// leastReported is a master that trusts nothing but reports: it takes the server that
// last said the lowest utilisation, ties at random.
type leastReported struct {
	local
	last []float64
}

func (p *leastReported) choose(now balance.Instant, _ int32, r *request) int32 {
	open, best, ties := p.open(now, r), -1, 1
	for i, u := range p.last {
		switch {
		case !open(i):
		case best < 0 || u < p.last[best]:
			best, ties = i, 1
		case u == p.last[best]:
			if ties++; p.rng.IntN(ties) == 0 {
				best = i
			}
		}
	}
	return int32(best)
}

func (p *leastReported) report(_ balance.Instant, l load) {
	if l.utilization >= 0 {
		p.last[l.server] = l.utilization
	}
}
