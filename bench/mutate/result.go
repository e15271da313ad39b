package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// result is what became of a sample.
type result struct {
	room        string
	seed        uint64
	all         int // mutants that the room has
	equivalents int // of these are accepted as equivalent, and not tried
	stale       []equivalent

	counts    [verdicts]int
	survivors []survivor
}

type survivor struct {
	*mutant
	verdict
}

// String is a mutant as it is printed, and but for the line's number as it stands in the list of equivalents.
func (m *mutant) String() string {
	return fmt.Sprintf("%s:%d %s: %s", m.file, m.line, m.function, m.change)
}

func (r *result) add(m *mutant, v verdict) {
	r.counts[v]++
	if v == survived || v == unreached {
		r.survivors = append(r.survivors, survivor{m, v})
	}
}

func (r *result) judged() int { return r.killed() + len(r.survivors) }

func (r *result) killed() int { return r.counts[killed] + r.counts[timedOut] }

// score is the share of mutants that were killed; of none it is 1.
func (r *result) score() float64 {
	if r.judged() == 0 {
		return 1
	}
	return float64(r.killed()) / float64(r.judged())
}

func (r *result) print(w io.Writer, equivalents string) {
	slices.SortFunc(r.survivors, func(a, b survivor) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.start, b.start), cmp.Compare(a.change, b.change))
	})
	for _, s := range r.survivors {
		if s.verdict == unreached {
			fmt.Fprintf(w, "%s (no test reaches it)\n", s.mutant)
		} else {
			fmt.Fprintln(w, s.mutant)
		}
	}
	for _, e := range r.stale {
		fmt.Fprintf(w, "%s:%d: stale: %s %s: %s is no mutant: remove the line, or judge it again\n", equivalents, e.line, e.file, e.function, e.change)
	}
	fmt.Fprintf(w, "%s, seed %d: %d of %d killed (%.0f %%), %d of them by the timeout; %d survived, %d of them reached by no test; %d mutants in all, %d accepted as equivalent\n",
		r.room, r.seed, r.killed(), r.judged(), 100*r.score(), r.counts[timedOut], len(r.survivors), r.counts[unreached], r.all, r.equivalents)
}

func (r *result) figures(goal float64) []figures.Figure {
	of := fmt.Sprintf(", %s, seed %d", r.room, r.seed)
	return []figures.Figure{
		{Name: "share of mutants killed" + of, Value: r.score(), Unit: "share", Goal: fmt.Sprintf(">=%g", goal)},
		{Name: "mutants tried" + of, Value: float64(r.judged())},
		{Name: "of these killed by the timeout" + of, Value: float64(r.counts[timedOut])},
		{Name: "of these reached by no test" + of, Value: float64(r.counts[unreached])},
		{Name: "accepted as equivalent" + of, Value: float64(r.equivalents)},
	}
}
