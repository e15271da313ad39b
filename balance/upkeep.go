package balance

import (
	"math"
	"time"
)

// rank brings a server's place in the order up to date.
func (p *Pool) rank(now Instant, s *Server) {
	if p.scorer == nil {
		return
	}
	k := never
	if s.State(now) == Up && float64(s.leases) < min(p.ceiling(now, s), p.warmth(now, s)) {
		k = newKey(p.scorer.Score(now, s), p.rng.Uint64())
	}
	p.order.set(s.index, k)
}

// tend looks after what changes by itself, one server at a time and all of them in
// about a tendCycle: b drifts back to the pool's mean, external load fades, warming up
// goes on. Servers whose ejection is over are looked after at once.
func (p *Pool) tend(now Instant) {
	if now >= p.returns {
		p.returns = forever
		for _, s := range p.servers {
			if s.State(now) == Ejected {
				p.returns = min(p.returns, s.health.ejectedUntil)
			}
			p.rank(now, s)
		}
	}
	if len(p.servers) > 0 && now.Sub(p.tendedAt)*time.Duration(len(p.servers)) >= tendCycle {
		p.tendNext(now)
	}
}

// tendAll looks after every server, for requests that wait while nothing else happens.
func (p *Pool) tendAll(now Instant) {
	if now.Sub(p.tendedAt) < tendCycle {
		return
	}
	for range p.servers {
		p.tendNext(now)
	}
}

func (p *Pool) tendNext(now Instant) {
	p.tendedAt = now
	p.tended++
	if p.tended >= len(p.servers) {
		p.tended = 0
		p.conclude()
	}
	s := p.servers[p.tended]
	p.fade(now, s)
	p.count(now, s)
	p.rank(now, s)
}

const (
	tendCycle = 100 * time.Millisecond
	forever   = Instant(math.MaxInt64)
)
