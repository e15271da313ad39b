package balance

import (
	"fmt"
	"time"
)

// Learnt is what b and c of a server rest on, for people.
type Learnt struct {
	Samples float64       // requests that b is learnt from, older ones counting less
	Age     time.Duration // of the last of them; negative: none
	Slots   string        // what c rests on, in words
}

// learnt returns what the server's b and c rest on.
func (s *Server) learnt(now Instant) Learnt {
	l := Learnt{Samples: s.pace.weight, Age: -1, Slots: s.slotsRestOn(now)}
	if s.sampled != 0 {
		l.Age = now.Sub(s.sampled)
	}
	return l
}

// slotsRestOn follows survey.
func (s *Server) slotsRestOn(now Instant) string {
	c := &s.capacity
	switch {
	case !c.known:
		return "assumed"
	case c.refuted:
		return "latencies, " + s.knee.restOn() + ", which rule out what was told"
	case c.assumed:
		return "assumed, as the others have"
	case c.told && c.slots != s.slots.learnt:
		return "declared"
	case c.told && (s.slots.vague || !s.counted && s.agrees.verdict != agrees):
		return "declared" // as much as is learnt
	case c.told:
		return "its utilization, " + s.slots.restOn(now)
	case s.slots.learnt > 0 && c.slots == s.slots.learnt:
		return "its CPU's utilization, " + s.slots.restOn(now)
	}
	return "latencies, " + s.knee.restOn()
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
