package sim

import (
	"testing"
	"time"
)

// overload is a fleet at 1.3 of what it can do from the twentieth second on, of which nothing is declared.
func overload() Scenario {
	return Scenario{Requests: 60_000, Load: .65, Blind: true, Edges: 4, Ask: 500 * time.Microsecond, Link: 500 * time.Microsecond, Deadline: time.Second,
		Servers:  Servers{Count: 20, Kinds: []Kind{{Of: 5, Slots: 2}, {Of: 3, Slots: 4}, {Of: 2, Slots: 4, Speed: 2}}},
		Work:     Work{Distribution: "lognormal", Mean: 100 * time.Millisecond, Sigma: 1},
		Reports:  Reports{Every: 100 * time.Millisecond},
		Arrivals: Arrivals{Shape: "step", High: 2, At: 20 * time.Second, For: time.Hour}}
}

// A master that restarts in overload serves nearly as much in time as one that does not.
func TestAMasterThatRestartsInOverload(t *testing.T) {
	s := overload()
	stays := Run(s, "least-load", 1).Goodput
	s.Faults = []Fault{{What: "master", At: 30 * time.Second, For: 2 * time.Second}}
	restarts := Run(s, "least-load", 1).Goodput
	t.Logf("goodput %.3f, without a restart %.3f", restarts, stays)
	if restarts < .9*stays {
		t.Errorf("goodput %.3f, want at least .9 of that without a restart, %.3f", restarts, stays)
	}
}

// Servers of which nothing is declared and that report nothing serve most of what they can in time, also in overload, from the first second and
// with a master that knows nothing.
func TestOverloadOfUnknownServers(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(s *Scenario)
	}{
		{"later", func(*Scenario) {}},
		{"from the first second", func(s *Scenario) { s.Load, s.Arrivals = 1.5, Arrivals{} }},
		{"in order of arrival", func(s *Scenario) { s.Servers.Discipline, s.Load, s.Arrivals = "fcfs", 1.5, Arrivals{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := overload()
			s.Reports = Reports{}
			c.make(&s)
			r := Run(s, "least-load", 1)
			t.Logf("goodput %.3f, refused %.3f", r.Goodput, r.Refused)
			if r.Goodput < .6 {
				t.Errorf("goodput %.3f, want at least .6", r.Goodput)
			}
		})
	}
}
