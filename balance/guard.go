package balance

import "math"

// This file bounds the requests at servers whose slots are neither declared nor reported. They have no limit that rests on what is guessed from answers: one
// that is too low would hold work back and so prove itself right. But without any limit all servers of an overloaded pool get more
// and more requests, none of which is answered in time. So where answers have shown that more requests take longer, a server has as
// many as it answers in the time that requests have (Little's law): throughput is learnt well also where all servers are full, and
// slots and the time of a request alone are not.

const (
	guardSlots    = 2.  // times the slots that a server may have in any case
	guardGrowing  = 8.  // the same where latencies grow below the slots, so that these are known badly
	guardGrowth   = .1  // exponent from which on they do
	guardShare    = 3.  // of the time to the deadline that a request may take at its server
	guardServices = 90. // times as long as alone that a request may take where there are no deadlines, and at least
	guardWait     = 30. // seconds
	guardMost     = .7  // of the time to the deadline, that a request which waits is thought to need
	deadlineGain  = .01
)

// noteDeadline learns how much time requests have.
func (p *Pool) noteDeadline(now, deadline Instant) {
	if left := seconds(deadline.Sub(now)); left > 0 {
		if p.allowed == 0 {
			p.allowed = left
		}
		p.allowed += deadlineGain * (left - p.allowed)
	}
}

// guard returns how many requests a server may have whose slots are neither declared nor reported; infinite: any number.
func (p *Pool) guard(s *Server) float64 {
	most := s.knee.bound()
	if most == 0 || p.times.weight == 0 {
		return math.Inf(1)
	}
	c, mean, times := s.capacity.slots, s.mean(), guardSlots
	if p.growth.exponent > guardGrowth {
		times = guardGrowing
	}
	time := max(guardWait, guardServices*mean)
	if p.allowed > 0 {
		time = min(time, p.allowed/guardShare)
	}
	return math.Ceil(max(times*c, min(most, kneeBeyond*c), c*time/mean))
}

// crowded returns the seconds that a request takes where servers have all that they may, which alone takes so many. Where that is nearly all
// that requests have it is less, as otherwise none would wait at all.
func (p *Pool) crowded(alone float64) float64 {
	return max(alone, min(alone*p.crowding, guardMost*p.allowed))
}

// bound returns the most slots that answers leave open; zero: any number, as none has shown that more requests take longer.
func (k *knee) bound() float64 {
	most := k.most
	if k.shared.c > 0 {
		most = k.shared.most
	}
	if most == crowdSizes[crowds-1] {
		return 0
	}
	return most
}
