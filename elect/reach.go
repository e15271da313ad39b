package elect

import (
	"maps"
	"slices"
	"time"
)

// This file judges which masters edges can reach. Each edge connects to every master, so
// one that has fewer edges than another for a while cannot be reached by some.

// shortAfter is how long a master may have fewer edges than another: those that have lost
// it come back within a second, if they can.
const shortAfter = 3 * time.Second

// compareEdges notes which masters have fewer edges than another.
func (e *Elector) compareEdges(now time.Time, masters []Candidate) {
	most, few := 0, make(map[string]bool)
	for i := range masters {
		if m := &masters[i]; m.ID == e.cfg.Self.ID {
			m.Edges = e.host.Edges() // what the Store knows of it may be old
		}
		most = max(most, masters[i].Edges)
	}
	for _, m := range masters {
		if few[m.ID] = m.Edges < most; few[m.ID] && e.short[m.ID].IsZero() {
			e.short[m.ID] = now
		}
	}
	maps.DeleteFunc(e.short, func(id string, _ time.Time) bool { return !few[id] })
}

func (e *Elector) isShort(id string) bool {
	since, few := e.short[id]
	return few && time.Since(since) >= shortAfter
}

// judged returns masters with what compareEdges has found of each.
func (e *Elector) judged(masters []Candidate) []Candidate {
	all := slices.Clone(masters)
	for i := range all {
		all[i].short = e.isShort(all[i].ID)
	}
	return all
}
