package sim

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// odd is a small scenario that tests change.
func odd() Scenario {
	return Scenario{Requests: 4000, Load: .5, Blind: true, Servers: Servers{Count: 4, Kinds: []Kind{{Slots: 2}}}, Work: Work{Mean: 100 * time.Millisecond}, Reports: Reports{Every: 100 * time.Millisecond}}
}

// What the canonical scenarios leave out does what it says, whichever policy chooses, and no request gets lost.
func TestOddScenarios(t *testing.T) {
	for _, c := range []struct {
		name  string
		make  func(s *Scenario)
		check func(t *testing.T, w *world, r Result, plain Result)
	}{
		{"churn", func(s *Scenario) { s.Churn = Churn{2 * time.Second, 5 * time.Second} }, func(t *testing.T, w *world, r, plain Result) {
			if r.Errors > 0 || r.Mean < plain.Mean {
				t.Errorf("mean %.4f and errors %.4f, want no errors, and more than without: %.4f", r.Mean, r.Errors, plain.Mean)
			}
		}},
		{"cold", func(s *Scenario) {
			s.Churn, s.Cold = Churn{2 * time.Second, time.Second}, Cold{100, 3}
		}, func(t *testing.T, w *world, r, plain Result) {
			if r.Mean < 1.1*plain.Mean {
				t.Errorf("mean %.4f, want well more than without: %.4f", r.Mean, plain.Mean)
			}
		}},
		{"limit", func(s *Scenario) { s.Load, s.Servers.Kinds[0].Limit = .9, 1 }, func(t *testing.T, w *world, r, plain Result) {
			if r.Errors == 0 {
				t.Error("no errors, want some: servers answer 503 beyond one")
			}
		}},
		{"batch", func(s *Scenario) { s.Servers.Kinds[0] = Kind{Slots: 16, Batch: .5} }, func(t *testing.T, w *world, r, plain Result) {
			if got := w.fleet[0].weight(); math.Abs(got-16*1.5/9) > 1e-9 {
				t.Errorf("16 requests together achieve %.3f, want %.3f", got, 16*1.5/9)
			}
			if r.Mean < 1.1*plain.Mean {
				t.Errorf("mean %.4f, want well more than that of requests that do not slow each other: %.4f", r.Mean, plain.Mean)
			}
		}},
		{"step", func(s *Scenario) { s.Arrivals = Arrivals{Shape: "step", High: 2, At: 20 * time.Second, For: time.Hour} }, func(t *testing.T, w *world, r, plain Result) {
			if r.Mean < 2*plain.Mean {
				t.Errorf("mean %.4f with twice the load from the middle on, want more than twice that without: %.4f", r.Mean, plain.Mean)
			}
		}},
		{"mmpp", func(s *Scenario) {
			s.Arrivals = Arrivals{Shape: "mmpp", High: 4, For: 2 * time.Second, After: 4 * time.Second}
		}, func(t *testing.T, w *world, r, plain Result) {
			if r.Mean < 1.2*plain.Mean {
				t.Errorf("mean %.4f with four times the load now and then, want well more than without: %.4f", r.Mean, plain.Mean)
			}
			if got := 4000 / 40 / w.ended.Sub(start).Seconds(); got < 1.4 || got > 2.8 {
				t.Errorf("%.2f times as many requests came, want about twice as many: four times in a third of the time", got)
			}
		}},
		{"sine", func(s *Scenario) { s.Arrivals = Arrivals{Shape: "sine", High: 1.8, For: 20 * time.Second} }, func(t *testing.T, w *world, r, plain Result) {
			if r.Mean < 1.05*plain.Mean {
				t.Errorf("mean %.4f with a load that goes up and down, want more than that of an even one: %.4f", r.Mean, plain.Mean)
			}
			if r.Utilization < .43 || r.Utilization > .57 {
				t.Errorf("%.2f of the servers is used, want about .5 as at an even load", r.Utilization)
			}
		}},
		{"drag", func(s *Scenario) {
			s.Drag = []Drag{{Servers: []int{0, 1}, At: 10 * time.Second, For: 3 * time.Second, Every: 10 * time.Second, Speed: .5}, {Servers: []int{1}, For: time.Second, Speed: .1}}
		}, func(t *testing.T, w *world, r, plain Result) {
			if r.Mean < 1.02*plain.Mean {
				t.Errorf("mean %.4f with servers that are slow now and then, want more than without: %.4f", r.Mean, plain.Mean)
			}
			if w.servers[2].dragged != 1 || w.servers[1].dragged != .5 && w.servers[1].dragged != 1 {
				t.Errorf("servers 1 and 2 have %v and %v of their speed at the end, want .5 or 1, and 1", w.servers[1].dragged, w.servers[2].dragged)
			}
		}},
		{"bimodal", func(s *Scenario) {
			s.Work = Work{Distribution: "bimodal", Mean: 100 * time.Millisecond, Ratio: 50, Share: .05}
		}, func(t *testing.T, w *world, r, plain Result) {
			if short := .1 / (.95 + 2.5); r.P50 < .9*short || r.P50 > 1.5*short || r.P99 < 50*short {
				t.Errorf("p50 %.4f and p99 %.4f, want about %.4f and 50 times that", r.P50, r.P99, short)
			}
		}},
		{"warmup", func(s *Scenario) { s.Warmup = -1 }, func(t *testing.T, w *world, r, plain Result) {
			if r.Requests != 4000 || plain.Requests != 3600 {
				t.Errorf("%d requests count, want all 4000; without the key %d, want 3600", r.Requests, plain.Requests)
			}
		}},
		{"failures", func(s *Scenario) { s.Faults = []Fault{{What: "sick", For: time.Hour, Servers: []int{0, 1, 2, 3}}} }, func(t *testing.T, w *world, r, plain Result) {
			if r.Errors != 1 || r.P50 != 1 || r.P999 != 1 || r.Mean != 1 {
				t.Errorf("%+v where every request fails, want times of 1 s, which is 10 times the mean work", r)
			}
		}},
		{"tenants", func(s *Scenario) {
			s.Tenants = []Tenant{{Name: "a", Load: .2, Work: .1}, {Name: "b", Load: .3, Work: 2}}
		}, func(t *testing.T, w *world, r, plain Result) {
			if got := float64(w.tally.tenants[0].counted) / float64(w.tally.tenants[1].counted); got < 12 || got > 15 {
				t.Errorf("%.1f requests of a for one of b, want about .2/.1 for .3/2", got)
			}
			if r.Utilization < .4 || r.Utilization > .6 {
				t.Errorf("%.2f of the servers is used, want about .5", r.Utilization)
			}
		}},
		{"declared", func(s *Scenario) { s.Blind, s.Declared = false, 3 }, func(t *testing.T, w *world, r, plain Result) {
			if w.master == nil {
				return
			}
			if got := w.master.pool.Views(0)[0].Spec.Slots; got != 6 {
				t.Errorf("%v slots are declared, want 6", got)
			}
		}},
		{"product_rtt", func(s *Scenario) { s.Ask, s.AskUntold = 5*time.Millisecond, true }, func(t *testing.T, w *world, r, plain Result) {
			if got := w.s.poolConfig().RoundTrip; got != 0 {
				t.Errorf("the pool is told a round trip of %v, want none", got)
			}
		}},
		{"lies", func(s *Scenario) { s.Lies = Lies{What: liesFullUtil, Share: .5} }, func(t *testing.T, w *world, r, plain Result) {
			for i, want := range []bool{false, true, false, true} {
				if got := w.s.Lies.isTold(i); got != want {
					t.Errorf("server %d lies: %t, want %t", i, got, want)
				}
			}
		}},
	} {
		for _, name := range []string{"least-load", "haproxy-leastconn", "prequal", "envoy-weighted"} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				s := odd().WithDefaults()
				plain := Run(s, name, 3)
				c.make(&s)
				s = s.WithDefaults()
				s.Validate(func(field, problem string) { t.Errorf("%s: %s", field, problem) })
				w := newWorld(&s, 3)
				w.choosing(name, 3)
				for w.pending || w.under > 0 {
					w.step()
					if w.master == nil {
						continue
					}
					if err := w.master.pool.Check(); err != nil {
						t.Fatal(err)
					}
				}
				c.check(t, w, w.result(name), plain)
			})
		}
	}
}

// What each lie tells.
func TestLies(t *testing.T) {
	for _, c := range []struct {
		lies Lies
		want func(now balance.Instant, l load, told bool) bool
	}{
		{Lies{What: liesFullUtil, Share: 1}, func(_ balance.Instant, l load, told bool) bool { return told && l.utilization == 1 }},
		{Lies{What: liesThreads, Share: 1, Slots: 1e6}, func(_ balance.Instant, l load, told bool) bool { return told && l.utilization < 1e-3 }},
		{Lies{What: liesZero, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.utilization == 0 && l.inFlight == 0 && !l.cpu
		}},
		{Lies{What: liesFull, Share: 1}, func(_ balance.Instant, l load, told bool) bool { return told && l.inFlight == 2 }},
		{Lies{What: liesFullCPU, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.cpu && l.utilization == 1 && l.inFlight < 0
		}},
		{Lies{What: liesRandom, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.utilization >= 0 && l.utilization < 1 && l.inFlight >= 0 && l.inFlight < 4
		}},
		{Lies{What: liesLost, Share: 1}, func(_ balance.Instant, l load, told bool) bool { return !told }},
		{Lies{What: liesUtil, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.inFlight < 0 && l.utilization == 0 && !l.cpu
		}},
		{Lies{What: liesCPU, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.inFlight < 0 && l.utilization == 0 && l.cpu
		}},
		{Lies{What: liesCount, Share: 1}, func(_ balance.Instant, l load, told bool) bool {
			return told && l.inFlight == 0 && l.utilization < 0
		}},
		{Lies{What: liesOnce, Share: 1, Age: time.Second, Slots: 1e15}, func(now balance.Instant, l load, told bool) bool {
			return told && l.inFlight == 1e15 == (now == start+balance.Instant(time.Second))
		}},
		{Lies{What: liesStale, Share: .999, Age: time.Second}, func(now balance.Instant, l load, told bool) bool { return !told || now.Sub(l.taken) >= time.Second }},
		{Lies{What: liesStale, Share: 1, Age: time.Second}, func(now balance.Instant, l load, told bool) bool { return !told || l.taken == now }},
	} {
		s := odd().WithDefaults()
		s.Lies = c.lies
		w := newWorld(&s, 1)
		for at := 100 * time.Millisecond; at < 3*time.Second; at += 100 * time.Millisecond {
			now := start + balance.Instant(at)
			if l, told := w.lie(now, 0); !c.want(now, l, told) {
				t.Errorf("%+v: after %v it tells %+v, %t", c.lies, at, l, told)
			}
		}
	}
}

// A peer may be given what it would not know at its place; ours and the ideal may not.
func TestViews(t *testing.T) {
	for name, ok := range map[string]bool{"haproxy-leastconn+weights": true, "haproxy-leastconn+weights+one": true, "prequal+one": true, "least-load+one": false, "ideal+weights": false, "prequal+two": false} {
		if err := Check(name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := odd()
	s.Edges, s.Load, s.Servers.Kinds = 16, .8, []Kind{{Slots: 1}, {Slots: 4}}
	blind, weighted, one := Run(s, "haproxy-leastconn", 1), Run(s, "haproxy-leastconn+weights", 1), Run(s, "haproxy-leastconn+weights+one", 1)
	if !(one.Mean < weighted.Mean && weighted.Mean < blind.Mean) || one.Policy != "haproxy-leastconn+weights+one" {
		t.Errorf("means %.4f, with weights %.4f, as one instance %.4f (%s): want each less than the one before", blind.Mean, weighted.Mean, one.Mean, one.Policy)
	}
}
