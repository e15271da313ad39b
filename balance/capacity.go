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
	refuted bool    // what was told is ruled out by latencies, and this is what they tell
}

// survey works out c and what follows. What an operator has set comes first. What the application's own utilisation tells comes before what
// was declared: machines change, files stay. What the CPU's utilisation tells, which
// others use too, comes after, and last what latencies alone tell. Limits rest on these two only where they hold for most
// servers of the pool by what these are told: one without would take all that the others' limits hold back.
func (p *Pool) survey(s *Server) {
	told, usual, before, knee := s.toldSlots(), p.usualSlots, s.recalled(), s.heardKnee()
	if p.newcomer.firm {
		usual = max(usual, p.newcomer.slots)
	}
	switch {
	case told > 0 && (s.since.overridden.setsSlots() || !knee.refutes(told, s.capacity.refuted)):
		s.capacity = capacity{slots: told, known: true, firm: true, told: true}
	case told > 0 && !s.isDeclared():
		delete(p.knownBefore, s.spec.ID)
		p.survey(s)
		return
	case told > 0:
		s.capacity = capacity{slots: knee.guess(usual), known: true, firm: true, refuted: true}
	case s.slots.learnt > 0 && s.agrees.verdict == agrees && knee.allows(s.slots.learnt):
		s.capacity = capacity{slots: s.slots.learnt, known: true, firm: p.newcomer.firm}
	case knee.shared.c > 0:
		s.capacity = capacity{slots: knee.shared.guess(usual), known: true, firm: p.newcomer.firm}
	case knee.c > 0:
		s.capacity = capacity{slots: knee.guess(usual), known: true, firm: p.newcomer.firm}
	case before.slots > 0:
		s.capacity = capacity{slots: before.slots, known: true, firm: p.newcomer.firm}
	default:
		s.capacity = p.newcomer // as the others, if limits hold them back; without one it would take all that these hold back
	}
	s.clamp()
	p.bound(s)
}

// toldSlots returns the slots that an operator has set, were declared, follow from the application's utilisation, or did so with the master before; zero: none of these.
func (s *Server) toldSlots() float64 {
	if s.since.overridden.setsSlots() {
		return max(1, s.since.overridden.slots)
	}
	if s.slots.learnt > 0 && !s.slots.vague && s.followsLedger() {
		return s.slots.learnt
	}
	if declared := s.declaredSlots(); declared > 0 {
		return max(1, declared) // one request alone is worked on at once, however slowly
	}
	if before := s.recalled(); before.firm {
		return before.slots
	}
	return 0
}

// isDeclared reports whether slots were declared or follow from the application's utilisation, and not from what the master before knew.
func (s *Server) isDeclared() bool {
	return s.declaredSlots() > 0 || s.slots.learnt > 0 && !s.slots.vague && s.followsLedger()
}

// Slots returns c, how many requests the server works on at once, and whether that is
// known; if not it is 1.
func (s *Server) Slots() (c float64, known bool) { return s.capacity.slots, s.capacity.known }

// Service returns b, the time of one request alone at this server, in seconds; as
// long as the pool has learnt nothing, relative to a server of speed 1.
func (s *Server) Service() float64 { return s.ratio * s.pool.times.usual }

// Growth returns how many times as long as alone a request takes where there are n, itself included, as far as they are no
// more than the slots.
func (s *Server) Growth(n float64) float64 { return s.pool.growth.at(min(n, s.capacity.slots)) }

// Speed returns the declared speed of one slot, 1 if none was declared.
func (s *Server) Speed() float64 { return s.speed }

// Weight returns the throughput the server is good for, relative to the pool's others.
func (s *Server) Weight() float64 {
	c, _ := s.Slots()
	return c / s.Service()
}

// settle accounts for the time since the number of requests at the server last changed.
// There is nothing to account for until a report comes, and none may ever come.
func (s *Server) settle(now Instant) {
	n := s.crowd(now)
	s.slots.stay(n, seconds(now.Sub(s.usage.since)))
	s.usage.step(now, n)
}

// followsLedger reports whether what the server tells moves with the requests that we know of: its utilisation does, or its
// counts do, as far as these have been tried.
func (s *Server) followsLedger() bool {
	return s.agrees.verdict == agrees || s.counted && !s.voice.unsure
}
