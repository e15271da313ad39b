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

// A server alone that works in order of arrival, and of which nothing is known, is given no more than it can serve in time from the first requests
// on, though it answers few in a second.
func TestALoneUnknownServerInOverload(t *testing.T) {
	s := Scenario{Requests: 700, Load: 3, Blind: true, Edges: 1, Ask: 50 * time.Microsecond, Link: 50 * time.Microsecond, Deadline: 10 * time.Second,
		Servers: Servers{Count: 1, Discipline: "fcfs", Kinds: []Kind{{Of: 1, Slots: 4}}}, Work: Work{Distribution: "exponential", Mean: time.Second}}
	for seed := range uint64(4) {
		r := Run(s, "least-load", seed)
		t.Logf("seed %d: goodput %.3f, refused %.3f", seed, r.Goodput, r.Refused)
		if r.Goodput < .7 {
			t.Errorf("seed %d: goodput %.3f, want at least .7", seed, r.Goodput)
		}
	}
}
