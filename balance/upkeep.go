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
	if s.State(now) == Up && p.hasRoom(now, s) {
		k = newKey(p.scorer.Score(now, s), p.draw(), s.index)
	}
	p.order.set(int(s.index), k)
}

// draw returns a number by lot, which is only good for putting equals in some order.
func (p *Pool) draw() uint64 {
	p.lot = p.lot*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator: its upper bits are even
	return p.lot
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
		p.conclude(now)
	}
	s := p.servers[p.tended]
	p.fade(now, s)
	s.health.forgive()
	p.count(now, s)
	p.rank(now, s)
}

// census adds up, server by server as they are looked after, what is told of all.
type census struct {
	limits, left float64 // of the servers' limits, and what others' requests leave of them
	leases, warm int     // of servers that are up and warm
	loose        bool    // one that is up has no limit
}

func (p *Pool) count(now Instant, s *Server) {
	if limit := float64(s.limit); !math.IsInf(limit, 1) {
		p.census.limits += limit
		p.census.left += max(0, limit-s.load.at(now))
	}
	if s.State(now) != Up {
		return
	}
	if now.Sub(s.warmFrom) >= warmTime {
		p.census.leases += int(s.leases)
		p.census.warm++
	}
	if math.IsInf(float64(s.limit), 1) && math.IsInf(p.warmth(now, s), 1) {
		p.census.loose = true
	}
}

// conclude ends a census that has been round all servers.
func (p *Pool) conclude(now Instant) {
	c := p.census
	p.crowdedOut = c.left < crowdedLeft*c.limits
	p.mean = math.Inf(1)
	if c.warm > 0 {
		p.mean = float64(c.leases) / float64(c.warm)
	}
	p.census = census{}
	if c.loose != p.loose {
		p.loose = c.loose
		for _, s := range p.servers {
			p.rank(now, s)
		}
	}
}

// crowdedLeft is the part of all limits which, if others leave less of them, is nothing.
const crowdedLeft = .1

const (
	tendCycle = 100 * time.Millisecond
	forever   = Instant(math.MaxInt64)
)
