package sim

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file has what well-known proxies do, as their documentation and behaviour tell.

// haproxyLeastConn is HAProxy's leastconn: servers stand in order of
// (in flight + 1)/weight; one whose key changes goes behind those of equal key, so
// ties are taken in turn.
type haproxyLeastConn struct {
	local
	stamps [][]uint64 // by edge and server: when its key last changed
	clock  uint64
}

func newHAProxyLeastConn(l local) *haproxyLeastConn {
	p := &haproxyLeastConn{local: l, stamps: make([][]uint64, l.w.s.Edges)}
	for e := range p.stamps {
		p.stamps[e] = make([]uint64, len(l.weights))
		for i := range p.stamps[e] {
			p.stamps[e][i] = uint64(i)
		}
	}
	p.clock = uint64(len(l.weights))
	return p
}

func (p *haproxyLeastConn) choose(now balance.Instant, _ int32, r *request) int32 {
	mine, stamps, open := p.w.inFlight[r.edge], p.stamps[r.edge], p.open(now, r)
	best, lowest := 0, math.Inf(1)
	for i, weight := range p.weights {
		key := float64(mine[i]+1) / weight
		if open(i) && (key < lowest || key == lowest && stamps[i] < stamps[best]) {
			best, lowest = i, key
		}
	}
	p.moved(r.edge, int32(best))
	return int32(best)
}

func (p *haproxyLeastConn) done(_ balance.Instant, r *request) { p.moved(r.edge, r.server) }

func (p *haproxyLeastConn) moved(edge, server int32) {
	p.clock++
	p.stamps[edge][server] = p.clock
}

// haproxyRandom is HAProxy's random(2): two draws by weight, the less loaded for its
// weight wins, the first if equal.
type haproxyRandom struct{ local }

func (p *haproxyRandom) choose(now balance.Instant, _ int32, r *request) int32 {
	open := p.open(now, r)
	a, b := p.draw(open), p.draw(open)
	mine := p.w.inFlight[r.edge]
	if float64(mine[b])*p.weights[a] < float64(mine[a])*p.weights[b] {
		return b
	}
	return a
}

// nginxLeastConn is nginx's least_conn: the fewest in flight for its weight; among
// equals, smooth weighted round robin.
type nginxLeastConn struct {
	local
	turns []smooth
}

func (p *nginxLeastConn) choose(now balance.Instant, _ int32, r *request) int32 {
	mine, open := p.w.inFlight[r.edge], p.open(now, r)
	lowest := math.Inf(1)
	for i, weight := range p.weights {
		if open(i) {
			lowest = min(lowest, float64(mine[i])/weight)
		}
	}
	return p.turns[r.edge].next(p.weights, func(i int) bool { return open(i) && float64(mine[i])/p.weights[i] == lowest })
}

// envoyTwoChoices is Envoy's least request among equal weights: two draws, each with
// the same chance, the fewer active requests win.
type envoyTwoChoices struct{ local }

func (p *envoyTwoChoices) choose(now balance.Instant, _ int32, r *request) int32 {
	open := p.open(now, r)
	a, b := p.even(open), p.even(open)
	if mine := p.w.inFlight[r.edge]; mine[b] < mine[a] {
		return b
	}
	return a
}

// even returns one of the open servers, each with the same chance.
func (l *local) even(open func(i int) bool) int32 {
	for {
		if i := l.rng.IntN(len(l.weights)); open(i) {
			return int32(i)
		}
	}
}

// envoyFullScan is Envoy's least request with a full scan: the fewest active requests,
// ties at random.
type envoyFullScan struct{ local }

func (p *envoyFullScan) choose(now balance.Instant, _ int32, r *request) int32 {
	mine, open := p.w.inFlight[r.edge], p.open(now, r)
	best, ties := -1, 1
	for i, n := range mine {
		switch {
		case !open(i):
		case best < 0 || n < mine[best]:
			best, ties = i, 1
		case n == mine[best]:
			if ties++; p.rng.IntN(ties) == 0 {
				best = i
			}
		}
	}
	return int32(best)
}

// envoyWeighted is Envoy's least request among unequal weights: earliest deadline
// first, where a server that is chosen comes back after
// (active + 1)^bias/weight, with the default bias of 1.
type envoyWeighted struct {
	local
	deadlines [][]float64 // by edge and server
}

func newEnvoyWeighted(l local) *envoyWeighted {
	p := &envoyWeighted{local: l, deadlines: make([][]float64, l.w.s.Edges)}
	for e := range p.deadlines {
		p.deadlines[e] = make([]float64, len(l.weights))
		for i, weight := range l.weights {
			p.deadlines[e][i] = l.rng.Float64() / weight // edges do not start in step
		}
	}
	return p
}

func (p *envoyWeighted) choose(now balance.Instant, _ int32, r *request) int32 {
	deadlines, open := p.deadlines[r.edge], p.open(now, r)
	best := -1
	for i, d := range deadlines {
		if open(i) && (best < 0 || d < deadlines[best]) {
			best = i
		}
	}
	deadlines[best] += float64(p.w.inFlight[r.edge][best]+1) / p.weights[best]
	return int32(best)
}

// orcaRoundRobin is gRPC's weighted round robin (A58): every edge gives each server
// its turns in proportion to its requests a second over its utilisation, smoothly, and
// edges do not start in step. Servers tell both as means over about ten seconds. As
// long as fewer than two are known all weigh the same; after that a server of which
// nothing is known has the others' mean. Weights are brought up to date every second.
type orcaRoundRobin struct {
	local
	turns   []smooth
	rates   []float64
	used    []float64 // utilisation
	taken   []balance.Instant
	updated balance.Instant
}

const (
	orcaUpdate = balance.Instant(1e9)
	orcaMemory = 10. // seconds
)

func newORCARoundRobin(l local) *orcaRoundRobin {
	n := len(l.weights)
	p := &orcaRoundRobin{local: l, turns: newSmooth(l.w.s.Edges, n), rates: make([]float64, n), used: make([]float64, n), taken: make([]balance.Instant, n), updated: start}
	for _, turn := range p.turns {
		for i := range turn.credit {
			turn.credit[i] = l.rng.Float64() * l.total / float64(n)
		}
	}
	return p
}

func (p *orcaRoundRobin) report(_ balance.Instant, l load) {
	if l.utilization < 0 {
		return
	}
	gain := -math.Expm1(-l.taken.Sub(p.taken[l.server]).Seconds() / orcaMemory)
	p.taken[l.server] = l.taken
	p.rates[l.server] += gain * (l.rate - p.rates[l.server])
	p.used[l.server] += gain * (l.utilization - p.used[l.server])
}

func (p *orcaRoundRobin) choose(now balance.Instant, _ int32, r *request) int32 {
	if now >= p.updated+orcaUpdate {
		p.update()
		p.updated = now
	}
	return p.turns[r.edge].next(p.weights, p.open(now, r))
}

func (p *orcaRoundRobin) update() {
	known, sum := 0, 0.
	for i, used := range p.used {
		if p.weights[i] = 0; used > 0 && p.rates[i] > 0 {
			p.weights[i] = p.rates[i] / used
			sum += p.weights[i]
			known++
		}
	}
	for i, weight := range p.weights {
		if known < 2 {
			p.weights[i] = 1
		} else if weight == 0 {
			p.weights[i] = sum / float64(known)
		}
	}
}
