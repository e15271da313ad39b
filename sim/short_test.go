package sim

import (
	"testing"
	"time"
)

// shortBounds keep the canonical scenarios from getting worse unnoticed. A run of a
// tenth of the length and one seed is rougher than the goals, so there is room above
// (for shares to be reached, below) what it gives.
var shortBounds = map[string]Goal{
	"B1-4":         {Figure: "p99/ideal", AtMost: 1.16},
	"B1-4-blind":   {Figure: "p99/ideal", AtMost: 1.18},
	"B1-16":        {Figure: "p99/ideal", AtMost: 1.16},
	"B1-16-blind":  {Figure: "p99/ideal", AtMost: 1.18},
	"B2":           {Figure: "p99/ideal", AtMost: 1.45},
	"B3":           {Figure: "p99/ideal", AtMost: 1.75},
	"B4":           {Figure: "p99/ideal", AtMost: 1.30},
	"B5-outage-4":  {Figure: "trouble-p99/p99", AtMost: 2.6},
	"B5-outage-16": {Figure: "trouble-p99/p99", AtMost: 5},
	"B5-overload":  {Figure: "in-time", AtLeast: .98},
	"B5-sick":      {Figure: "errors", AtMost: .004},
	"B6":           {Figure: "p99", AtMost: 3.3},
	"B6-queue":     {Figure: "p99", AtMost: 3.3},
	"B7":           {Figure: "p99/ideal", AtMost: 1.3},
	"B8":           {Figure: "p99/ideal", AtMost: 1.15},
	"pools":        {Figure: "mean/ideal", AtMost: 1.15},

	"R-declared-high": {Figure: "mean/ideal", AtMost: 1.9},
	"R-declared-low":  {Figure: "mean/ideal", AtMost: 4},
	"R-far":           {Figure: "mean/ideal", AtMost: 1.9},
	"R-old":           {Figure: "mean/ideal", AtMost: 1.45},
	"R-random":        {Figure: "mean/no-reports", AtMost: 1.25},
	"R-threads":       {Figure: "mean/ideal", AtMost: 1.8},

	"B1-size-exact": {Figure: "p99/ideal", AtMost: 0.85},
	"B1-size-half":  {Figure: "p99/ideal", AtMost: 0.88},
	"B1-size-rough": {Figure: "p99/ideal", AtMost: 1.05},
	"B1-size-lie":   {Figure: "p99/untold", AtMost: 1.08},
	"B2-size-exact": {Figure: "p99/ideal", AtMost: 0.95},
	"B2-classes":    {Figure: "p99/ideal", AtMost: 1.1},
	"B2-size-half":  {Figure: "p99/ideal", AtMost: 1.0},
	"B2-size-rough": {Figure: "p99/ideal", AtMost: 1.2},
	"B2-size-lie":   {Figure: "p99/untold", AtMost: 1.08},
	"B8-size-exact": {Figure: "p99/ideal", AtMost: 0.9},
	"B8-size-half":  {Figure: "p99/ideal", AtMost: 0.95},
	"B8-size-rough": {Figure: "p99/ideal", AtMost: 1.1},
	"B8-size-lie":   {Figure: "p99/untold", AtMost: 1.08},

	"batch":           {Figure: "makespan/bound", AtMost: 2.5},
	"batch-size-half": {Figure: "makespan/bound", AtMost: 1.5},

	"S-1":  {Figure: "mean/peer", AtMost: 1.6},
	"S-2":  {Figure: "mean/peer", AtMost: 1.12},
	"S-3":  {Figure: "mean/peer", AtMost: 1.23},
	"S-4":  {Figure: "mean/peer", AtMost: 1.15},
	"S-5":  {Figure: "mean/peer", AtMost: 1.06},
	"S-6":  {Figure: "mean/peer", AtMost: 1.15},
	"S-7":  {Figure: "mean/peer", AtMost: 1.34},
	"S-8":  {Figure: "mean/peer", AtMost: 1.59},
	"S-9":  {Figure: "mean/peer", AtMost: 1.46},
	"S-10": {Figure: "mean/peer", AtMost: 1.22},
}

func TestCanonicalShort(t *testing.T) {
	for _, f := range Canonical("") {
		s := parse(t, f.Name, f.YAML)
		t.Run(s.Name, func(t *testing.T) {
			if s.Arrivals.Shape != batch {
				s.Requests = 40_000
			}
			if s.Affinity.Keys > 0 {
				s.Requests = 160_000 // caches take their time to fill
			}
			for i := range s.Faults {
				s.Faults[i].At, s.Faults[i].For = 8*time.Second, 8*time.Second
			}
			policies := []string{"least-load"}
			if s.hasGoal("/peer") {
				policies = append(policies, SearchPeers...)
			}
			c, err := Compare(t.Context(), s, policies, []uint64{2027})
			if err != nil {
				t.Fatal(err)
			}
			bound := shortBounds[s.Name]
			if bound.Figure == "" && s.hasGoal("/no-reports") {
				bound = Goal{Figure: "mean/no-reports", AtMost: 1.1}
			}
			got := c.Results[0].Figure(bound.Figure)
			t.Logf("%s %.4f, bound %s", bound.Figure, got, bound)
			if bound.Figure == "" || !bound.Met(got) {
				t.Errorf("%s is %.4f, want %s\nrun: go test -run TestCanonicalShort/%s ./sim", bound.Figure, got, bound, s.Name)
			}
		})
	}
}
