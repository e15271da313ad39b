//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// scenarios are what is replayed, and the bounds for ours with nothing configured:
// the simulator's, plus what real processes may cost.
var scenarios = []struct {
	id, file string
	goal     float64 // p99 over the ideal's
}{
	{"B1", "b1-4", 1.18 + allowance},
	{"B2", "b2", 1.10 + allowance},
	{"B4", "b4", 1.20 + allowance},
}

const allowance = .10

// plan is one scenario with one seed: what is sent when and where, and the best that
// any scheduler could achieve.
type plan struct {
	id       string
	goal     float64
	scenario sim.Scenario // stretched, blind, and with the number of requests
	fleet    []sim.Kind
	trace    []request
	ideal    sim.Result
}

// request is one arrival, and the edge or the server that gets it.
type request struct {
	load.Arrival
	edge   int // -1: direct
	server int // of a direct one
}

// newPlan draws the requests of about that much time. Work, and the times between
// requests and between reports, are stretched alike.
func newPlan(i int, seed uint64, length time.Duration, stretch float64) (*plan, error) {
	row := scenarios[i]
	file := sim.Canonical(row.file)[0]
	var s sim.Scenario
	if err := yaml.Unmarshal(file.YAML, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name, err)
	}
	s = s.WithDefaults()
	s.Blind = true
	s.Work.Mean = time.Duration(float64(s.Work.Mean) * stretch)
	s.Reports.Every = time.Duration(float64(s.Reports.Every) * stretch)
	s.Requests = s.RequestsIn(length)
	p := &plan{id: row.id, goal: row.goal, scenario: s, fleet: s.Fleet()}
	for _, r := range sim.Requests(s, seed) {
		p.trace = append(p.trace, request{Arrival: load.Arrival{At: r.At, Work: r.Work}, edge: r.Edge, server: r.Server})
	}
	free := s
	free.Ask, free.Link = 0, 0 // real trips are part of what is measured, so the ideal pays none
	p.ideal = sim.Run(free, sim.Ideal, seed)
	return p, nil
}

// counts reports whether a request is measured: neither in the warm-up nor direct.
func (p *plan) counts(i int) bool {
	return i >= p.scenario.WarmupRequests() && p.trace[i].edge >= 0
}

func capacity(k sim.Kind) float64 { return float64(k.Slots) * k.Speed }
