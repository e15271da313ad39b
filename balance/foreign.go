package balance

import (
	"fmt"
	"math"
	"time"
)

// This file bounds x, the requests of others at a server. Reports tell of them, one way or
// another, but reports may be wrong by any factor, and a server that is wrongly believed to be
// full gets nothing and so never shows that it is not.

const (
	mostForeign  = 3.  // times the slots: x that no count stands behind is no more
	mostCounted  = 1e6 // requests that a count is believed
	countedSlack = 8.  // times what answers make possible that a count is still believed: it is no guess
	probeAfter   = 1.  // seconds without a lease of ours, after which a server that is believed full is tried, or
	probeService = 10. // services, if they are longer
	mostConfirms = 5   // doublings of probeAfter, while answers bear out that the server is full
	countHolds   = 10 * time.Second
	freshFor     = 1 // seconds: agents report twice a second, and what is no older says all there is to know
)

// foreign returns x as it counts now, which is nothing where it is time to see whether it is true.
func (s *Server) foreign(now Instant) float64 {
	if s.leases == 0 && now >= s.probe {
		return 0
	}
	return s.load.at(now)
}

// believed returns n as people are told of it: also what is not counted while it is time
// to see whether it is true.
func (s *Server) believed(now Instant) float64 { return float64(s.leases) + s.load.at(now) }

// touched says that we have, or had until now, a request at the server.
func (s *Server) touched(now Instant) {
	wait := max(probeAfter*float64(int(1)<<s.confirms), probeService*s.mean())
	s.probe = now.Add(time.Duration(wait * 1e9))
}

// confirm takes what an answer, which has just refuted what it could, leaves of the belief that
// others fill the server. As long as that holds, the server is tried less and less often: where
// our requests are few, each of them would go to a server that is truly full.
func (s *Server) confirm(now Instant) {
	if s.load.at(now) < s.capacity.slots {
		s.confirms = 0
		return
	}
	s.confirms = min(s.confirms+1, mostConfirms)
}

// possible returns the most requests of others that there can be at the server, by how fast it
// has answered of late: with n requests in all it takes n/c times as long as alone.
func (s *Server) possible(now Instant) float64 {
	c, own := s.capacity.slots, float64(s.leases)
	most := mostForeign * c
	if s.counted {
		most = mostCounted
	}
	if s.pool.times.weight == 0 {
		return most
	}
	slower := s.strain.most(now, s.strainMemory(), s.pool.times.variance())
	if s.counted {
		slower *= countedSlack
	}
	return min(most, max(0, max(c, own)*slower-own))
}

// freshness returns what figures count that are so old: half with each mean time of a request, as about so many
// of those that were there have left since, or with each freshFor where that is longer.
func (s *Server) freshness(age time.Duration) float64 {
	return math.Exp2(-seconds(age) / max(freshFor, s.mean()))
}

// correct takes a sample of x, as far as answers make it possible. fresh is what it counts, from 0 to 1.
func (s *Server) correct(now Instant, sample, fresh float64) {
	most := s.possible(now)
	if s.counted {
		s.claimed += externalGain * fresh * (sample - s.claimed)
		if s.allowed = most; most == mostCounted {
			s.allowed = 0
		}
	}
	if s.counted && s.voice.lost {
		sample = 0
	}
	s.load.correct(now, min(sample, most), fresh)
	s.load.x = min(s.load.x, most)
}

// clamp keeps x within what the slots allow, which have changed.
func (s *Server) clamp() {
	if s.load.x > 0 && !s.counted {
		s.load.x = min(s.load.x, mostForeign*s.capacity.slots)
	}
}

// refute takes off x what an answer that has just come shows to be impossible.
func (s *Server) refute(now Instant) {
	if s.load.x > 0 {
		s.load.x = min(s.load.x, s.possible(now))
	}
}

// check states what can be believed of a server, whatever was reported of it.
func (s *Server) check() error {
	slots, most := s.slots.learnt, mostForeign*s.capacity.slots
	if s.counted {
		most = mostCounted
	}
	switch c := s.capacity.slots; {
	case !(c > 0 && c <= 1e6):
		return fmt.Errorf("server %s: believed to have %v slots", s.spec.ID, c)
	case slots != 0 && !(slots >= 1 && slots <= max(1, s.slots.most/leastBusy)):
		return fmt.Errorf("server %s: %v slots learnt from at most %v requests at once", s.spec.ID, slots, s.slots.most)
	case !(s.load.x <= most*(1+1e-9)):
		return fmt.Errorf("server %s: believed to have %v requests of others, with %v slots", s.spec.ID, s.load.x, c)
	case !(s.Service() > 0 && !math.IsInf(s.Service(), 1)):
		return fmt.Errorf("server %s: believed to take %v s", s.spec.ID, s.Service())
	}
	return nil
}

// crowd returns how many requests of which we know for certain are at the server: ours, and
// others' if they have been counted. What times are learnt from must not rest on what is
// only worked out from a utilisation, by slots that are learnt from these times.
func (s *Server) crowd(now Instant) float64 {
	if s.load.x <= 0 || !s.counted {
		return float64(s.leases)
	}
	return float64(s.leases) + min(s.load.at(now), math.MaxFloat32)
}
