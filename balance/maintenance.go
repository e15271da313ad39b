package balance

import (
	"math"
	"time"
)

// rank brings a server's place in the order up to date.
func (p *Pool) rank(now Instant, s *Server) {
	next := p.standingOf(now, s)
	if next != s.standing {
		p.stands(now, s, next)
	}
	if p.scorer == nil {
		return
	}
	k := never
	if next == isOpen {
		k = s.key(p.scorer.Score(now, s))
	}
	p.order.set(int(s.index), k)
	if s.labelled != nil || len(p.reachable) > 0 {
		p.rankAmong(now, s, k)
	}
}

// key returns the server's place among others that are given a score. Keys hold scores over the pool's usual b: that one
// moves with every answer, and keys made at other times must compare with this one. Where servers differ
// there are no turns: the server that has waited longest was slow when last tried.
func (s *Server) key(score float64) key {
	turn := s.turn
	if s.pool.times.equal == 0 && !s.isAlike {
		turn = uint32(s.pool.tieBreak() >> (64 - turnBits))
	}
	return newKey(score*s.pool.times.perUsual, turn, s.index)
}

// takeTurn gives the server, which is being given a request, the last turn of all. When turns
// run out, which is once in some millions of requests, all servers are at the first again.
func (p *Pool) takeTurn(now Instant, s *Server) {
	if p.turns++; p.turns == turns {
		p.turns = 1
		for _, other := range p.servers {
			other.turn = 0
			p.rank(now, other)
		}
	}
	s.turn = p.turns
}

// tieBreak returns a pseudo-random number, which is only good for choosing among servers or putting them in some order.
func (p *Pool) tieBreak() uint64 {
	p.tieState = p.tieState*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator: its upper bits are even
	return p.tieState
}

// maintain looks after what changes by itself, one server at a time and all of them in
// about a maintenanceCycle: b drifts back to the pool's mean, external load fades, warming up
// goes on. Servers whose ejection or hold is over are looked after at once.
func (p *Pool) maintain(now Instant) {
	if now >= p.returns {
		p.wake(now)
	}
	if len(p.servers) > 0 && now.Sub(p.maintainedAt)*time.Duration(len(p.servers)) >= maintenanceCycle {
		p.maintainNext(now)
	}
}

// wake looks after the servers for which a time has come.
func (p *Pool) wake(now Instant) {
	p.returns = forever
	later := p.waking[:0]
	for _, s := range p.waking {
		if s.isHeld && s.held.why == onlyCounted && now >= s.held.until {
			s.isHeld = false
		}
		p.rank(now, s)
		if next := s.nextChange(now); next < forever {
			later = append(later, s)
			p.returns = min(p.returns, next)
		} else {
			s.waking = false
		}
	}
	clear(p.waking[len(later):])
	p.waking = later
}

// nextChange returns when the server's ejection or hold ends or its warming up begins.
func (s *Server) nextChange(now Instant) Instant {
	next := forever
	for _, at := range [...]Instant{s.health.ejectedUntil, s.held.until, s.warmFrom, s.knownFrom()} {
		if at > now {
			next = min(next, at)
		}
	}
	if s.unreached == 0 {
		return next // nearly always
	}
	for _, b := range s.pool.reachable {
		if x := b.servers[s]; x != nil && x.until > now {
			next = min(next, x.until)
		}
	}
	return next
}

// wakeAt has the server looked after at a time.
func (p *Pool) wakeAt(s *Server, at Instant) {
	if !s.waking {
		s.waking = true
		p.waking = append(p.waking, s)
	}
	p.returns = min(p.returns, at)
}

// maintainAll looks after every server, for requests that wait while nothing else happens.
func (p *Pool) maintainAll(now Instant) {
	if now.Sub(p.maintainedAt) >= maintenanceCycle {
		p.maintainRound(now)
	}
}

func (p *Pool) maintainRound(now Instant) {
	for range p.servers {
		p.maintainNext(now)
	}
}

func (p *Pool) maintainNext(now Instant) {
	p.maintainedAt = now
	p.maintained++
	if p.maintained >= len(p.servers) {
		p.maintained = 0
		p.cycle, p.cycleBegan = now.Sub(p.cycleBegan), now
		p.finishRound(now)
	}
	s := p.servers[p.maintained]
	p.fade(now, s)
	p.findStandstill(now, s)
	s.health.forgive()
	p.tryMore(now, s)
	s.okCrowd *= 1 - min(1, float32(p.cycle)/float32(crowdMemory))
	p.count(now, s)
	p.account(now, s)
	p.rank(now, s)
}

// poolTotals adds up, server by server as they are looked after, what is told of all.
type poolTotals struct {
	limits, left float64 // of the servers' limits, and what others' requests leave of them
	leases, warm int     // of servers that are up and warm
	odds         float64 // sum of how far servers' times are from the pool's, in squared errors
	timed        int     // of so many servers
	loose        bool    // one that is up has no limit
	well         bool    // one that is up does not fail, as far as it has been tried
	squares      float64 // sum of the squares of how far the mean logarithms of servers' times are from the pool's
	noise        float64 // and of what chance is to have made of them
	paced        int     // of so many servers
	knees        float64 // sum of the logarithms of c where latencies tell it
	knee         int     // of so many servers
	slots        float64 // sum of the logarithms of c where it is told
	firm         int     // of so many servers
	out          bool    // one is ejected for what it answered
	rate         float64 // that servers that are up are good for, in requests a b
	local        localTotals
	guarded      float64 // of the limits of servers whose slots are neither declared nor reported
	guardedSlots float64 // and of their slots
	rise         rise    // of all servers' latencies up to their slots
}

func (p *Pool) count(now Instant, s *Server) {
	if limit := float64(s.limit); !math.IsInf(limit, 1) {
		p.totals.limits += limit
		p.totals.left += max(0, limit-s.load.at(now))
		if !s.capacity.firm {
			p.totals.guarded += limit
			p.totals.guardedSlots += s.capacity.slots
		}
	}
	if s.pace.weight >= 1 {
		off, variance := p.deviation(s)
		p.totals.odds += off * off / variance
		p.totals.timed++
	}
	if s.pace.weight >= leastWorth {
		off := s.pace.mean() - p.prior(s)
		p.totals.squares += off * off
		p.totals.noise += p.times.likely() / s.pace.weight
		p.totals.paced++
	}
	if s.capacity.told || s.capacity.refuted {
		p.totals.slots += math.Log(s.capacity.slots)
		p.totals.firm++
	}
	p.totals.rise.xx += s.knee.rise.xx
	p.totals.rise.xy += s.knee.rise.xy
	if !s.capacity.told && s.knee.isTold() {
		p.totals.knees += math.Log(s.capacity.slots)
		p.totals.knee++
	}
	if s.State(now) != Up {
		p.totals.out = p.totals.out || s.State(now) == Ejected && s.health.cause.forAnswers()
		return
	}
	p.totals.well = p.totals.well || s.isWell(now)
	if s.side == backups {
		return // the others' work is not counted on it
	}
	p.totals.rate += s.Weight()
	p.totals.local.count(now, p, s)
	if now.Sub(s.warmFrom) >= warmTime {
		p.totals.leases += int(s.leases)
		p.totals.warm++
	}
	if math.IsInf(float64(s.limit), 1) && math.IsInf(p.warmth(now, s), 1) {
		p.totals.loose = true
	}
}

// finishRound uses the totals of a round that has been through all servers.
func (p *Pool) finishRound(now Instant) {
	c := p.totals
	p.crowdedOut = c.left < crowdedLeft*c.limits
	p.mean = math.Inf(1)
	if c.warm > 0 {
		p.mean = float64(c.leases) / float64(c.warm)
	}
	p.times.conclude(&c)
	p.concludeLocal(&c.local)
	p.concludeWork(now, &c)
	changed := p.growth.conclude(c.rise, p.times.likely())
	if p.perWaiting = 0; c.rate > 0 && p.times.weight > 0 {
		p.perWaiting = p.times.spread / c.rate
	}
	p.groupAlike(now)
	p.totals = poolTotals{}
	p.forgetRecalled(now)
	p.crowding = max(1, c.guarded/max(1, c.guardedSlots))
	if c.knee > 0 {
		p.usualSlots = math.Exp(c.knees / float64(c.knee))
	}
	p.newcomer = capacity{slots: 1}
	if 2*c.firm > len(p.servers) {
		p.newcomer = capacity{slots: math.Exp(c.slots / float64(c.firm)), known: true, firm: true, assumed: true}
	}
	if c.out && !c.well {
		p.takeBack(now)
	}
	if p.exclusions > 0 {
		p.fadeExclusions(now)
	}
	if changed || c.loose != p.loose {
		p.loose = c.loose
		for _, s := range p.servers {
			p.rank(now, s)
		}
	}
}

// crowdedLeft is the part of all limits which, if others leave less of them, is nothing.
const crowdedLeft = .1

const (
	maintenanceCycle = 100 * time.Millisecond
	forever          = Instant(math.MaxInt64)
)
