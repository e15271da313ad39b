package demo

import (
	"fmt"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// scenario returns what both systems get: twelve servers that work on one request at a
// time, four of them twice as fast, before eight proxies. Nothing is configured: neither
// the master nor the proxies know which servers are fast. Work and the times between
// requests are stretched alike.
func scenario(length time.Duration, stretch float64) sim.Scenario {
	s := sim.Scenario{
		Name: "demo",
		Servers: sim.Servers{Count: 12, Discipline: "fcfs", Kinds: []sim.Kind{
			{Of: 2, Slots: 1, Speed: 1},
			{Of: 1, Slots: 1, Speed: 2},
		}},
		Load:    .8,
		Work:    sim.Work{Distribution: "exponential", Mean: time.Duration(float64(200*time.Millisecond) * stretch)},
		Edges:   8,
		Reports: sim.Reports{Responses: true},
		Blind:   true,
	}
	s.Requests = s.RequestsIn(time.Duration(float64(length) * stretch))
	return s.WithDefaults()
}

// plan is the traffic of a run and the best that could be made of it.
type plan struct {
	scenario sim.Scenario
	length   time.Duration // of the traffic
	requests []sim.Request
	ideal    sim.Result
}

func newPlan(cfg Config, stretch float64) plan {
	s := scenario(cfg.Length, stretch)
	return plan{
		scenario: s,
		length:   time.Duration(float64(cfg.Length) * stretch),
		requests: sim.Requests(s, cfg.Seed),
		ideal:    sim.Run(s, sim.Ideal, cfg.Seed),
	}
}

// counts reports whether a request is measured; the first tenth of a run is its warm-up.
func (p *plan) counts(i int) bool { return i >= p.scenario.WarmupRequests() }

// trace returns the requests for real proxies at urls.
func (p *plan) trace(urls []string) []load.Arrival {
	trace := make([]load.Arrival, len(p.requests))
	for i, r := range p.requests {
		trace[i] = load.Arrival{At: r.At, Work: r.Work, URL: urls[r.Edge]}
	}
	return trace
}

// Range is the p99 of least connections at every proxy over that of least-load, the
// lowest and the highest of some seeds, as simulated.
type Range struct {
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

// rangeSeeds is how many other seeds a Range is made of.
const rangeSeeds = 3

// simulated runs the demo's scenario in the simulator, with seeds after the one shown.
func simulated(cfg Config) Range {
	s := scenario(cfg.Length, 1)
	s.Ask, s.Link = trip, trip
	var r Range
	for i := range uint64(rangeSeeds) {
		seed := cfg.Seed + 1 + i
		ratio := sim.Run(s, peerModel, seed).P99 / sim.Run(s, policyName, seed).P99
		if i == 0 || ratio < r.Lowest {
			r.Lowest = ratio
		}
		r.Highest = max(r.Highest, ratio)
	}
	return r
}

const (
	trip       = 500 * time.Microsecond // of a request or an ask on loopback, roughly
	policyName = "least-load"
	peerModel  = "haproxy-leastconn-unweighted" // the simulator's, which the small proxies are too
)

// serverID names the servers in order.
func serverID(i int) string { return fmt.Sprint("s", i+1) }
