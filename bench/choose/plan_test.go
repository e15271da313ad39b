//go:build linux

package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/station"
)

// The simulator tells what its ideal made of its own requests; the ideal over ours must
// come out the same, or they are not the same requests.
func TestPlanIsTheSimulators(t *testing.T) {
	for i := range scenarios {
		for _, stretch := range []float64{1, 3} {
			p, err := newPlan(i, 5, 20*time.Second, stretch)
			if err != nil {
				t.Fatal(err)
			}
			var took []time.Duration
			for j, at := range finishes(p) {
				if p.counts(j) {
					took = append(took, at-p.trace[j].At)
				}
			}
			slices.Sort(took)
			for _, c := range []struct {
				what      string
				got, want float64
			}{
				{"requests", float64(len(took)), float64(p.ideal.Requests)},
				{"p50", load.Quantile(took, .5).Seconds(), p.ideal.P50},
				{"p99", load.Quantile(took, .99).Seconds(), p.ideal.P99},
			} {
				if math.Abs(c.got/c.want-1) > 1e-6 {
					t.Errorf("%s stretched %v, ideal's %s: %v over the requests as drawn here, %v in the simulator", p.id, stretch, c.what, c.got, c.want)
				}
			}
		}
	}
}

// finishes returns when the ideal has done each request.
func finishes(p *plan) []time.Duration {
	done := make([]time.Duration, len(p.trace))
	if p.scenario.Servers.Discipline == "fcfs" {
		free := make([]time.Duration, len(p.fleet)) // when each server has done what it has
		for i, r := range p.trace {
			done[i] = central(p, free, r)
		}
		return done
	}
	var speeds []float64
	for _, k := range p.fleet {
		for range k.Slots {
			speeds = append(speeds, k.Speed)
		}
	}
	pool := station.NewPooled(speeds)
	take := func(until balance.Instant) {
		for at, ok := pool.Next(); ok && at <= until; at, ok = pool.Next() {
			job, _ := pool.Finish(at)
			done[job] = time.Duration(at)
		}
	}
	for i, r := range p.trace {
		take(balance.Instant(r.At))
		pool.Arrive(balance.Instant(r.At), uint64(i), r.Work)
	}
	take(math.MaxInt64 - 1)
	return done
}

// central gives the first in line to the fastest server that is free, or to the first
// that becomes so.
func central(p *plan, free []time.Duration, r request) time.Duration {
	best := 0
	for i := range free {
		a, b := max(free[i], r.At), max(free[best], r.At)
		if a < b || a == b && p.fleet[i].Speed > p.fleet[best].Speed {
			best = i
		}
	}
	free[best] = max(free[best], r.At) + time.Duration(r.Work/p.fleet[best].Speed*1e9)
	return free[best]
}
