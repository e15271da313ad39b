package balance

import (
	"fmt"
	"time"
)

// Doubt is what contradicts itself in what is told of a server, and what is made of it.
type Doubt struct {
	What     DoubtKind
	Told     float64
	Believed float64
}

// DoubtKind says which word is not believed.
type DoubtKind uint8

const (
	NoDoubt      DoubtKind = iota
	DoubtedUse             // Told is a utilisation, Believed the one that our leases make: the two move apart
	DoubtedCount           // Told is others' requests by its count, Believed the most that its answers make possible
	DoubtedCPU             // Told is slots by its CPU's utilisation, Believed by its answers
	DoubtedSlots           // Told is slots as declared, Believed by its application's utilisation or its answers
	DoubtedShare           // Told is slots by its application's utilisation, Believed by its answers
	DoubtedVoice           // Told is its requests by its count, Believed our leases: the two move apart
)

// String says in one clause what is told, what is believed, and what may be wrong; empty: nothing is.
func (d Doubt) String() string {
	switch d.What {
	case DoubtedUse:
		return fmt.Sprintf("its utilization, %.2f recently, does not follow the requests that it has, which make %.2f: neither slots nor load are taken from it; is it this application's alone, and a mean over the window that is told?", d.Told, d.Believed)
	case DoubtedCount:
		return fmt.Sprintf("it reports %.3g requests of others, but answers as if there were at most %.3g: no more are used; does it count requests that are over?", d.Told, d.Believed)
	case DoubtedVoice:
		return fmt.Sprintf("its count of requests, %.3g recently, does not rise and fall with the requests that it has from us, %.3g: it is not used; is it old, or a count of something else?", d.Told, d.Believed)
	case DoubtedCPU:
		return fmt.Sprintf("its CPU's utilization tells %.3g slots, but it answers as if there were %.3g, which is used; is the CPU not what limits it, or is the quota unknown to the reporter?", d.Told, d.Believed)
	case DoubtedSlots:
		return fmt.Sprintf("%.3g slots are declared, but what it reports and how it answers tell %.3g, which is used; is the declaration old, or the utilization a share of something else?", d.Told, d.Believed)
	case DoubtedShare:
		return fmt.Sprintf("its utilization tells %.3g slots, but it answers as if there were %.3g, which is used; is the utilization a share of threads or connections that are more than can be worked on at once?", d.Told, d.Believed)
	}
	return ""
}

// Contradiction is the error of a Report by which a doubt has come up or goes on. What the
// report says is kept. It comes once in doubtEvery for each server and kind.
type Contradiction struct {
	Server ServerID
	Doubt  Doubt
}

func (c *Contradiction) Error() string {
	return fmt.Sprintf("server %s: %v", clip(string(c.Server)), c.Doubt)
}

const (
	grossly    = 3.              // times apart, from which slots are worth a word
	doubtLasts = 5 * time.Second // that a doubt lasts before it is told
	doubtEvery = time.Minute     // between two words of one doubt
)

// doubted is when a server's doubt came up, and was told last.
type doubted struct {
	what        DoubtKind
	since, told Instant
}

// Doubt returns what contradicts itself now.
func (s *Server) Doubt() Doubt {
	learnt, c := s.slots.learnt, s.capacity.slots
	switch {
	case s.counted && s.voice.lost:
		return Doubt{DoubtedVoice, s.voice.level / s.voice.weight, s.voice.present / s.voice.weight}
	case s.counted && s.claimed > s.allowed && s.allowed > 0:
		return Doubt{DoubtedCount, s.claimed, s.allowed}
	case !s.counted && s.agrees.unlike && s.agrees.weight > 0:
		return Doubt{DoubtedUse, s.agrees.u / s.agrees.weight, s.agrees.f / s.agrees.weight}
	case s.capacity.refuted && s.toldSlots() == learnt && apart(learnt, c):
		return Doubt{DoubtedShare, learnt, c}
	case s.capacity.refuted && apart(s.declaredSlots(), c):
		return Doubt{DoubtedSlots, s.declaredSlots(), c}
	case learnt == 0:
	case s.slots.vague && s.heardKnee().c > 0 && s.agrees.verdict == agrees && learnt > grossly*s.heardKnee().c && s.declaredSlots() == 0:
		return Doubt{DoubtedCPU, learnt, s.heardKnee().c}
	case !s.slots.vague && c == learnt && s.declaredSlots() > 0 && apart(s.declaredSlots(), c):
		return Doubt{DoubtedSlots, s.declaredSlots(), c}
	}
	return Doubt{}
}

// apart reports whether two numbers of slots differ by so much that people are told.
func apart(a, b float64) bool { return a > grossly*b || b > grossly*a }

// contradiction returns the doubt about a server if it is time to tell it, else nil.
func (s *Server) contradiction(now Instant) *Contradiction {
	d := s.Doubt()
	if d.What != s.doubted.what {
		s.doubted = doubted{what: d.What, since: now}
	}
	if d.What == NoDoubt || now.Sub(s.doubted.since) < doubtLasts || s.doubted.told != 0 && now.Sub(s.doubted.told) < doubtEvery {
		return nil
	}
	s.doubted.told = now
	return &Contradiction{s.spec.ID, d}
}
