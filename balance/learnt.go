package balance

import (
	"fmt"
	"math"
	"time"
)

// Learnt is what b and c of a server rest on, and what follows from c, for people.
type Learnt struct {
	Samples float64       // requests that b is learnt from, older ones counting less
	Age     time.Duration // of the last of them; negative: none
	Slots   string        // what c rests on, in words
	Told    float64       // slots as declared or by its application's utilisation, whether c is that or not; zero: not told
	Limit   float64       // most requests that it may have, ours and others'; +Inf: no limit
	Room    int           // requests that it may be given now; negative: no limit
}

// learnt returns what the server's b and c rest on.
func (s *Server) learnt(now Instant) Learnt {
	l := Learnt{Samples: s.pace.weight, Age: -1, Slots: s.slotsRestOn(now), Told: s.toldSlots(), Limit: math.Inf(1), Room: -1}
	if p := s.pool; !p.loose {
		l.Limit = float64(s.limit)
	}
	if s.cap != noCap {
		l.Limit = min(l.Limit, float64(s.cap))
	}
	switch room := s.roomNow(now); {
	case s.State(now) != Up || room < 0:
		l.Room = 0
	case room < noCap:
		l.Room = int(math.Ceil(room))
	}
	if s.sampled != 0 {
		l.Age = now.Sub(s.sampled)
	}
	return l
}

// roomNow returns how many requests more the server may have now, by its limit, its cap, its hold and its warming up.
func (s *Server) roomNow(now Instant) float64 {
	p := s.pool
	if p.isCapped(now, s) || s.isHeld && !s.holdRoom(now) {
		return 0
	}
	most := min(p.ceiling(now, s), p.warmth(now, s), float64(s.cap))
	if s.isLimited() && now < s.held.until && s.held.why != heldForSilence {
		most = min(most, float64(s.held.most))
	}
	return most - float64(s.leases)
}

// slotsRestOn follows survey.
func (s *Server) slotsRestOn(now Instant) string {
	c, knee := &s.capacity, s.heardKnee()
	switch {
	case s.since.overridden.setsSlots():
		return "an operator has set them"
	case !c.known:
		return "assumed"
	case c.refuted:
		return "latencies, " + knee.restOn() + ", which rule out what was told"
	case c.assumed:
		return "assumed, as the others have"
	case c.slots == s.recalled().slots && (c.told && !s.isDeclared() || !c.told && !knee.isTold()):
		return "what the master before had learnt"
	case c.told && c.slots != s.slots.learnt:
		return "declared"
	case c.told && (s.slots.vague || !s.counted && s.agrees.verdict != agrees):
		return "declared" // as much as is learnt
	case c.told:
		return "its utilization, " + s.slots.restOn(now)
	case s.slots.learnt > 0 && c.slots == s.slots.learnt:
		return "its CPU's utilization, " + s.slots.restOn(now)
	}
	return "latencies, " + knee.restOn()
}

func (s *slots) restOn(now Instant) string {
	var seconds float32
	for _, t := range s.timeAt {
		seconds += t
	}
	return fmt.Sprintf("%.3g s of reports, the last %v ago", seconds, inWords(now.Sub(s.taken)))
}

func (k *knee) restOn() string {
	var n float32
	for _, w := range k.weight {
		n += w
	}
	words := fmt.Sprintf("%.0f samples", n)
	if k.shared.c > 0 {
		words += fmt.Sprintf(" and those of %d %s alike", k.sharers-1, pluralOf("server", k.sharers-1))
	}
	return words
}
