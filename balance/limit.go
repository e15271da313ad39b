package balance

import "math"

// bound brings up to date L, the requests a server may have before requests are held back in the
// queue, where they are not bound yet and can still go to the first server that is free.
// A server with a slot or two is held to exactly that, if the round trip that leaves
// a slot idle is small beside the work: there one long request blocks all behind it.
// Others get enough ahead that no slot idles. A server whose slots are not known, or are
// guessed from its CPU or its latencies, has a limit that only overload reaches (guard.go), and a pool without a queue has none.
func (p *Pool) bound(s *Server) {
	if p.queue.size == 0 {
		s.limit = float32(math.Inf(1))
		return
	}
	if !s.capacity.firm {
		s.limit = float32(p.guard(s))
		return
	}
	c, ahead := s.capacity.slots, 0.
	if s.capacity.refuted { // what was told is no reason to hold back less
		c = max(c, s.toldSlots())
	}
	if hit := p.cfg.Affinity.Hit; hit > 0 { // a request may better wait where its key is known than go where a slot is free
		c *= 1 + keyedWait/hit
	}
	if p.times.weight > 0 {
		trip, mean := p.trip.seconds, s.mean()
		if c > lateSlots || trip >= lateTrip*mean {
			ahead = math.Ceil(2*trip*c/mean - spareSlot)
		}
		if ahead == 0 && p.bindsAhead(trip, mean) {
			ahead = 1
		}
	}
	s.limit = float32(math.Ceil(c-slotsError) + ahead + math.Floor(s.stretch))
}

// isUnlimited reports whether the pool has a queue and the server no limit.
func (s *Server) isUnlimited() bool {
	return s.pool.queue.size > 0 && math.IsInf(float64(s.limit), 1)
}

// bindsAhead reports whether a server whose slots requests wait for in the queue is to have one more than it works on, so that no slot
// is idle while word of its end and of the next request is under way. It costs that request the time of the one before it, which may be
// long, and so is done only where requests wait longer than that, and the longer the less is won.
func (p *Pool) bindsAhead(trip, mean float64) bool {
	wait := float64(p.queue.length-p.queue.awaiting) * p.perWaiting
	return wait > mean && wait*2*trip > aheadWon*mean*mean
}

// hasRoom reports whether the server may have one more lease now.
func (p *Pool) hasRoom(now Instant, s *Server) bool {
	if s.isHeld && !s.holdRoom(now) || !p.mayHaveMore(now, s) {
		return false
	}
	if s.load.x <= loadError && now >= p.warmUntil { // nearly always
		return float32(s.leases) < s.limit || p.loose
	}
	return float64(s.leases) < min(p.ceiling(now, s), p.warmth(now, s))
}

// belowLimit reports whether the server may have one more lease now but for its warming up.
func (p *Pool) belowLimit(now Instant, s *Server) bool {
	return (!s.isHeld || s.holdRoom(now)) && p.mayHaveMore(now, s) && float64(s.leases) < p.ceiling(now, s)
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
	keyedWait  = 2   // times as long as a request takes whose key is known
	aheadWon   = .02 // of the time that a slot would be idle otherwise
)

// probe moves the limit of a server on which a request has just ended, where it rests on what was
// declared. While requests wait and latencies leave it open that it has more slots than its limit, it gets
// more; and that is taken back when they rule it out. Slots that an application's own
// utilisation tells need no probing: they show however few requests there are.
func (p *Pool) probe(s *Server) {
	if p.queue.size == 0 || p.times.weight == 0 || !s.capacity.firm || s.slots.learnt > 0 && !s.slots.vague {
		return
	}
	switch limit := float64(s.limit); {
	case s.stretch > 0 && limit > s.knee.most*kneeStep:
		s.stretch = max(0, s.stretch-1/s.capacity.slots)
		p.bound(s)
	case p.queue.length > 0 && s.knee.leavesOpen(limit, s.capacity.slots):
		urgent := 1 + float64(p.queue.length)*p.perWaiting/(probeWait*s.mean())
		s.stretch += min(1, urgent/probeSteps)
		p.bound(s)
	}
}

const (
	probeSteps = 32 // requests for one more, whatever the limit, or fewer where those in the queue wait for more than
	probeWait  = 2  // times as long as one takes
)
