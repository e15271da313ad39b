package balance

// This file puts together what is declared and what is learnt of a server's
// capacity: c, its slots, and b, its service time.

// capacity is c as it stands, kept beside what every pick reads.
type capacity struct {
	slots float64 // c
	known bool    // not just assumed
	firm  bool    // well enough for a limit to rest on
	told  bool    // somebody said so, be it the file or the server's utilisation
}

// survey works out c and what follows. What the application's own utilisation tells comes before what
// was declared: machines change, files stay. What the CPU's utilisation tells, which
// others use too, comes after, and last what latencies alone tell.
func (p *Pool) survey(s *Server) {
	switch {
	case s.slots.learnt > 0 && !s.slots.vague:
		s.capacity = capacity{s.slots.learnt, true, true, true}
	case s.spec.Slots > 0:
		s.capacity = capacity{s.spec.Slots, true, true, true}
	case s.slots.learnt > 0:
		s.capacity = capacity{s.slots.learnt, true, false, true}
	case s.knee.c > 0:
		s.capacity = capacity{s.knee.c, true, false, false}
	default:
		s.capacity = capacity{slots: 1}
	}
	p.bound(s)
}

// Slots returns c, how many requests the server works on at once, and whether that is
// known; if not it is 1.
func (s *Server) Slots() (c float64, known bool) { return s.capacity.slots, s.capacity.known }

// Service returns b, the time of one request alone at this server, in seconds; as
// long as the pool has learnt nothing, relative to a server of speed 1.
func (s *Server) Service() float64 { return s.service }

// Speed returns the declared speed of one slot, 1 if none was declared.
func (s *Server) Speed() float64 { return s.speed }

// Weight returns the throughput the server is good for, relative to the pool's others.
func (s *Server) Weight() float64 {
	c, _ := s.Slots()
	return c / s.Service()
}

// settle accounts for the time since the number of requests at the server last changed.
// There is nothing to account for until somebody reports, who may never come.
func (s *Server) settle(now Instant) {
	s.slots.stay(s.Load(now), seconds(now.Sub(s.usage.since)))
	s.usage.step(now, s.leases)
}
