//go:build linux

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
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
// anybody could make of it.
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
	fleet := fleetOf(s.Servers)
	s.Requests = int(length.Seconds() / gap(&s, fleet))
	p := &plan{id: row.id, goal: row.goal, scenario: s, fleet: fleet, trace: draw(&s, fleet, seed)}
	free := s
	free.Ask, free.Link = 0, 0 // real trips are part of what is measured, so the ideal pays none
	p.ideal = sim.Run(free, sim.Ideal, seed)
	return p, nil
}

// counts tells whether a request is measured: neither in the warm-up nor direct.
func (p *plan) counts(i int) bool {
	return i >= int(warmup*float64(len(p.trace))) && p.trace[i].edge >= 0
}

const warmup = .1 // of all requests, as in the simulator

// What follows draws a scenario's requests as the simulator does, number for number,
// so that its ideal is the ideal of these. A test holds the two together.

func fleetOf(s sim.Servers) []sim.Kind {
	var places []sim.Kind
	for _, k := range s.Kinds {
		for range k.Of {
			places = append(places, k)
		}
	}
	fleet := make([]sim.Kind, s.Count)
	for i := range fleet {
		fleet[i] = places[7*i%len(places)]
	}
	return fleet
}

func capacity(k sim.Kind) float64 { return float64(k.Slots) * k.Speed }

// gap is the mean time between two requests, in seconds.
func gap(s *sim.Scenario, fleet []sim.Kind) float64 {
	total := 0.
	for _, k := range fleet {
		total += capacity(k)
	}
	return s.Work.Mean.Seconds() / (s.Load * total)
}

func draw(s *sim.Scenario, fleet []sim.Kind, seed uint64) []request {
	rng := rand.New(rand.NewPCG(seed, 0x7472616365))
	work, between := sampler(s.Work, rng), gap(s, fleet)
	var targets []float64 // cumulative
	for i, k := range fleet[:s.Direct.Servers] {
		targets = append(targets, capacity(k))
		if i > 0 {
			targets[i] += targets[i-1]
		}
	}
	at, trace := 0., make([]request, s.Requests)
	for i := range trace {
		at += rng.ExpFloat64() * between
		r := request{Arrival: load.Arrival{At: time.Duration(at * 1e9), Work: work()}}
		if s.Direct.Share > 0 && rng.Float64() < s.Direct.Share {
			r.edge = -1
			r.server = min(sort.SearchFloat64s(targets, rng.Float64()*targets[len(targets)-1]), len(targets)-1)
		} else {
			r.edge = int(rng.Int32N(int32(s.Edges)))
		}
		trace[i] = r
	}
	return trace
}

// sampler returns what draws the work of one request, in seconds.
func sampler(w sim.Work, rng *rand.Rand) func() float64 {
	mean := w.Mean.Seconds()
	if w.Distribution == "lognormal" {
		mu := math.Log(mean) - w.Sigma*w.Sigma/2
		return func() float64 { return math.Exp(mu + w.Sigma*rng.NormFloat64()) }
	}
	cut := 1 - math.Pow(w.Ratio, -w.Alpha) // of a Pareto law
	low := mean * cut * (w.Alpha - 1) / w.Alpha / (1 - math.Pow(w.Ratio, 1-w.Alpha))
	return func() float64 { return low * math.Pow(1-rng.Float64()*cut, -1/w.Alpha) }
}
