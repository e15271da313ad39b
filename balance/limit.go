package balance

import (
	"math"
	"time"
)

// bound brings up to date L, the requests a server may have before requests are held back in the
// queue, where they are not bound yet and can still go to whoever comes free first.
// A server with a slot or two is held to exactly that, if the round trip that leaves
// a slot idle is small beside the work: there one long request blocks all behind it.
// Others get enough ahead that no slot idles. A server whose slots are not known, or are
// guessed from its CPU or its latencies, has no limit, nor has a pool without a queue: a
// limit on a guess that is too low would hold work back and so prove itself right.
func (p *Pool) bound(s *Server) {
	if p.queue.size == 0 || !s.capacity.firm {
		s.limit = float32(math.Inf(1))
		return
	}
	c, ahead := s.capacity.slots, 0.
	if p.times.weight > 0 {
		trip, mean := p.cfg.RoundTrip.Seconds(), s.mean()
		if c > lateSlots || trip >= lateTrip*mean {
			ahead = math.Ceil(2*trip*c/mean - spareSlot)
		}
	}
	s.limit = float32(math.Ceil(c-slotsError) + ahead + math.Floor(s.stretch))
}

// hasRoom reports whether the server may have one more lease now.
func (p *Pool) hasRoom(now Instant, s *Server) bool {
	if s.isHeld && !s.holdRoom(now) {
		return false
	}
	if s.load.x <= loadError && now >= p.warmUntil { // nearly always
		return float32(s.leases) < s.limit || p.loose
	}
	return float64(s.leases) < min(p.ceiling(now, s), p.warmth(now, s))
}

// belowLimit reports whether the server may have one more lease now but for its warming up.
func (p *Pool) belowLimit(now Instant, s *Server) bool {
	return (!s.isHeld || s.holdRoom(now)) && float64(s.leases) < p.ceiling(now, s)
}

// ceiling is how many leases a server may have: its limit less the requests that
// others keep there. Limits hold only where every server has one. If one had none, all that
// the others' limits hold back would go there, and keep it so full that nothing could be
// learnt of it. When others fill nearly the whole pool, waiting for them to leave
// would leave everything to them, so then they do not count.
func (p *Pool) ceiling(now Instant, s *Server) float64 {
	limit := float64(s.limit)
	if p.loose {
		return math.Inf(1)
	}
	if s.load.x <= loadError || p.crowdedOut {
		return limit
	}
	return limit - max(0, s.foreign(now)-loadError)
}

const (
	loadError = .5 // estimates of external load are off by less
)

const (
	slotsError = .3 // learnt slots are off by less
	lateSlots  = 2 + slotsError
	lateTrip   = .04
	spareSlot  = .1
)

// probe moves the limit of a server on which a request has just ended, where it rests on
// declared slots. While requests wait and the server is no slower than alone, it gets
// more; and that is taken back when it slows down. Slots that an application's own
// utilisation tells need no probing: they show however few requests there are.
func (p *Pool) probe(s *Server, took time.Duration) {
	if p.queue.size == 0 || p.times.weight == 0 || s.slots.learnt > 0 && !s.slots.vague {
		return
	}
	s.delay += probeGain * (math.Log(seconds(took)/s.Service()) - s.delay)
	switch c, _ := s.Slots(); {
	case s.delay > probeSlow:
		s.stretch = max(0, s.stretch-1/c)
		p.bound(s)
	case p.queue.length > 0 && s.delay < probeFast:
		s.stretch = min(s.stretch+1/(probeSteps*c), c)
		p.bound(s)
	}
}

const (
	probeGain  = .02
	probeSteps = 32 // requests on each slot for one more
)

// Bounds of delay, which the compiler would not work out before.
var (
	probeFast = math.Log(1.15)
	probeSlow = math.Log(1.3)
)
