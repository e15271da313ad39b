package balance

// This file puts together what is declared and what is learnt of a server's
// capacity: c, its slots, and b, its service time.

// capacity is c as it stands, kept beside what every pick reads.
type capacity struct {
	slots   float64 // c
	known   bool    // not just 1 for want of anything better
	firm    bool    // well enough for a limit to rest on
	assumed bool    // nothing is known of this server: it is taken to be as the others
	told    bool    // it was declared in the file or follows from the application's utilisation
}

// survey works out c and what follows. What the application's own utilisation tells comes before what
// was declared: machines change, files stay. What the CPU's utilisation tells, which
// others use too, comes after, and last what latencies alone tell.
func (p *Pool) survey(s *Server) {
	switch {
	case s.slots.learnt > 0 && !s.slots.vague && (s.counted || s.agrees.verdict == agrees):
		s.capacity = capacity{slots: s.slots.learnt, known: true, firm: true, told: true}
	case s.spec.Slots > 0:
		s.capacity = capacity{slots: s.spec.Slots, known: true, firm: true, told: true}
	case s.slots.learnt > 0 && s.agrees.verdict == agrees && s.knee.allows(s.slots.learnt):
		s.capacity = capacity{slots: s.slots.learnt, known: true}
	case s.knee.shared.c > 0:
		s.capacity = capacity{slots: s.knee.shared.guess(p.usualSlots), known: true}
	case s.knee.c > 0:
		s.capacity = capacity{slots: s.knee.guess(p.usualSlots), known: true}
	default:
		s.capacity = p.newcomer // as the others, if limits hold them back; without one it would take all that these hold back
	}
	s.clamp()
	p.bound(s)
}

// Slots returns c, how many requests the server works on at once, and whether that is
// known; if not it is 1.
func (s *Server) Slots() (c float64, known bool) { return s.capacity.slots, s.capacity.known }

// Service returns b, the time of one request alone at this server, in seconds; as
// long as the pool has learnt nothing, relative to a server of speed 1.
func (s *Server) Service() float64 { return s.ratio * s.pool.times.usual }

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
	n := s.crowd(now)
	s.slots.stay(n, seconds(now.Sub(s.usage.since)))
	s.usage.step(now, n)
}
