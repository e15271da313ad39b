package balance

// This file puts together what is declared and what is learnt of a server's
// capacity: c, its slots, and b, its service time.

// Slots returns c, how many requests the server works on at once, and whether that is
// known; if not it is 1. What the application's own utilisation tells comes before what
// was declared: machines change, files stay. What the CPU's utilisation tells, which
// others use too, comes after, and last what latencies alone tell.
func (s *Server) Slots() (c float64, known bool) {
	c, firm := s.firmSlots()
	switch {
	case firm:
		return c, true
	case s.slots.learnt > 0:
		return s.slots.learnt, true
	case s.knee.c > 0:
		return s.knee.c, true
	}
	return 1, false
}

// firmSlots returns c if it is known well enough for a limit to rest on.
func (s *Server) firmSlots() (c float64, firm bool) {
	if s.slots.learnt > 0 && !s.slots.vague {
		return s.slots.learnt, true
	}
	return s.spec.Slots, s.spec.Slots > 0
}

// Service returns b, the time of one request alone at this server, in seconds; as
// long as the pool has learnt nothing, relative to a server of speed 1.
func (s *Server) Service() float64 {
	if s.pool.pace.weight == 0 {
		return 1 / s.Speed()
	}
	return s.service
}

// Speed returns the declared speed of one slot, 1 if none was declared.
func (s *Server) Speed() float64 {
	if s.spec.Speed > 0 {
		return s.spec.Speed
	}
	return 1
}

// Weight returns the throughput the server is good for, relative to the pool's others.
func (s *Server) Weight() float64 {
	c, _ := s.Slots()
	return c / s.Service()
}

// settle accounts for the time since the number of requests at the server last changed.
func (s *Server) settle(now Instant) {
	s.slots.stay(s.Load(now), seconds(now.Sub(s.usage.since)))
	s.usage.step(now, s.leases)
}
