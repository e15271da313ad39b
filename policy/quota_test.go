package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/rate"
	"github.com/evenkeel-lb/evenkeel/internal/station"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// shop is a few servers under CPU quotas, as one finds them: jobs that burn CPU and take from
// 33 to 240 ms of it, open loop, chosen for by the real core. What agents would report comes
// from the agent's own arithmetic on a scheduler that hands out CPU time in lumps.
type shop struct {
	quotas []float64     // CPUs
	every  time.Duration // between reports; zero: none
	rate   float64       // requests a second
	seed   uint64
	until  time.Duration
	joins  int           // server that comes at joinsAt; zero: all are there from the start
	event  time.Duration // what follows begins then
	ends   time.Duration
	cron   bool // from event to ends, another program uses the CPU of server 0: half is left
	told   func(server int, utilization float64) float64
	pick   func(inFlight []int) int // who chooses in place of the core

	watch func(now balance.Instant, p *balance.Pool) // called every 100 ms

	meanAll, meanDuring float64 // seconds
	doubts              []*balance.Contradiction
}

const (
	shopPeriod = 100 * time.Millisecond
	shopBurst  = 2 // how much faster a server runs than its quota lasts for
	shopStep   = 2 * time.Millisecond
)

func shopWork(r *rand.Rand) float64 { // seconds of CPU
	switch u := r.Float64(); {
	case u > .95:
		return .23
	case u > .85:
		return .243
	case u > .7:
		return .112
	case u > .45:
		return .04
	}
	return .033
}

func (s *shop) run(t *testing.T) {
	t.Helper()
	r := rand.New(rand.NewPCG(s.seed, 1))
	p := balance.New(balance.Config{Name: "p", QueueSize: 1000}, balance.ByScore{Scorer: policy.LeastLoad{}}, s.seed)
	n := len(s.quotas)
	stations, counters := make([]*station.Station, n), make([]rate.Counter, n)
	burnt, used := 0., 0. // of server 0
	put := func(now balance.Instant, i int) {
		id := balance.ServerID(fmt.Sprint(i))
		if err := p.Put(now, balance.ServerSpec{ID: id, Address: "127.0.0.1:80"}, true); err != nil {
			t.Fatal(err)
		}
	}
	for i, quota := range s.quotas {
		stations[i] = station.NewPS(1, quota)
		stations[i].SetQuota(1, shopPeriod, shopBurst, 1+balance.Instant(r.Int64N(int64(shopPeriod))))
		if s.joins == 0 || i != s.joins {
			put(1, i)
		}
	}
	type job struct {
		server  int
		lease   balance.LeaseID
		started balance.Instant
	}
	jobs, id := make(map[uint64]job), uint64(0)
	inFlight := make([]int, n)
	var all, during []float64
	next := time.Duration(r.ExpFloat64() / s.rate * 1e9)
	for at := shopStep; at < s.until; at += shopStep {
		now := balance.Instant(at)
		if s.joins > 0 && at == s.event {
			put(now, s.joins)
		}
		burning := s.cron && at >= s.event && at < s.ends
		if s.cron && (at == s.event || at == s.ends) {
			speed := s.quotas[0]
			if burning {
				speed /= 2
			}
			stations[0].SetSpeed(now, speed)
		}
		for ; next <= at; next += time.Duration(r.ExpFloat64() / s.rate * 1e9) {
			id++
			work := shopWork(r)
			j := job{started: now}
			if s.pick != nil {
				j.server = s.pick(inFlight)
			} else {
				grant, err := p.Pick(now, &balance.Request{Edge: "e"})
				if err != nil {
					t.Fatal(err)
				}
				j.server, j.lease = int(grant.Server[0]-'0'), grant.Lease
			}
			inFlight[j.server]++
			jobs[id] = j
			stations[j.server].Arrive(now, id, work)
		}
		for _, st := range stations {
			for done, ok := st.Finish(now); ok; done, ok = st.Finish(now) {
				j := jobs[done]
				delete(jobs, done)
				inFlight[j.server]--
				if s.pick == nil {
					p.Done(now, j.lease, balance.Outcome{Duration: now.Sub(j.started)})
				}
				took := now.Sub(j.started).Seconds()
				if at > 10*time.Second {
					all = append(all, took)
				}
				if at > s.event && at < s.ends {
					during = append(during, took)
				}
			}
		}
		if at%(10*time.Millisecond) == 0 {
			if err := p.Check(); err != nil {
				t.Fatalf("seed %d, after %v: %v", s.seed, at, err)
			}
		}
		if burning { // what the jobs leave of the quota, the intruder uses
			burnt += shopStep.Seconds() - (stations[0].CPU(now) - used)
		}
		used = stations[0].CPU(now)
		for i := range stations {
			if s.every == 0 || (at+time.Duration(i)*14*time.Millisecond)%s.every != 0 || s.joins > 0 && i == s.joins && at < s.event {
				continue
			}
			cpu := stations[i].CPU(now)
			if i == 0 {
				cpu += burnt
			}
			u, window, ok := counters[i].Step(now, cpu)
			if !ok {
				continue
			}
			if s.told != nil {
				u = s.told(i, u)
			}
			report := &balance.Report{Server: balance.ServerID(fmt.Sprint(i)), Window: window, Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: u}}}
			var contradiction *balance.Contradiction
			switch err := p.Report(now, report); {
			case errors.As(err, &contradiction):
				s.doubts = append(s.doubts, contradiction)
			case err != nil:
				t.Fatal(err)
			}
		}
		if s.watch != nil && at%(100*time.Millisecond) == 0 {
			s.watch(now, p)
		}
	}
	s.meanAll, s.meanDuring = average(all), average(during)
}

func average(of []float64) float64 {
	sum := 0.
	for _, v := range of {
		sum += v
	}
	return sum / float64(max(1, len(of)))
}

func leastConnections(inFlight []int) int { return slices.Index(inFlight, slices.Min(inFlight)) }

// service returns the shop that the tests vary: what it can do is asked for at .63.
func service(seed uint64, every time.Duration) shop {
	return shop{quotas: []float64{.4, .2, .3, .15}, rate: 8.5, until: 120 * time.Second, seed: seed, every: every}
}

const shopSeeds = 6

// Whatever agents report, honest or not, they never make choosing worse than none would, but
// for chance: two runs that differ in nothing else differ by some hundredths.
func TestAgentsNeverDoHarm(t *testing.T) {
	of := func(server int, lie float64) func(int, float64) float64 {
		return func(i int, u float64) float64 {
			if i == server || server < 0 {
				return lie
			}
			return u
		}
	}
	scaled := func(by, more float64) func(int, float64) float64 {
		return func(_ int, u float64) float64 { return by*u + more }
	}
	const never, maybe, always = "never", "maybe", "always"
	var silent [shopSeeds]float64
	for seed := range silent {
		s := service(uint64(seed+1), 0)
		s.run(t)
		silent[seed] = s.meanAll
	}
	for _, c := range []struct {
		name  string
		every time.Duration
		told  func(server int, u float64) float64
		doubt string // whether the contradiction is told
	}{
		{"every 100 ms", 100 * time.Millisecond, nil, never},
		{"every 500 ms", 500 * time.Millisecond, nil, never},
		{"every 2 s", 2 * time.Second, nil, never},
		{"of CPUs that the quota does not leave", 500 * time.Millisecond, scaled(.1, 0), always},
		{"of twice the CPUs", 500 * time.Millisecond, scaled(.5, 0), maybe},
		{"of half the CPUs", 500 * time.Millisecond, scaled(2, 0), maybe},
		{"with neighbours", 500 * time.Millisecond, scaled(1, .5), maybe},
		{"all are full", 500 * time.Millisecond, of(-1, 1), always},
		{"one is full", 500 * time.Millisecond, of(0, 1), always},
		{"all are idle", 500 * time.Millisecond, of(-1, 0), always},
		{"one is idle", 500 * time.Millisecond, of(0, 0), always},
		{"anything", 100 * time.Millisecond, of(-1, 1e15), always},
	} {
		t.Run(c.name, func(t *testing.T) {
			ratio := 0.
			for seed := range silent {
				s := service(uint64(seed+1), c.every)
				s.told = c.told
				s.run(t)
				if n := len(s.doubts); c.doubt == never && n > 0 || c.doubt == always && n == 0 {
					t.Errorf("seed %d: told of %d contradictions, want some: %s; %v", seed+1, n, c.doubt, s.doubts)
				}
				ratio += s.meanAll / silent[seed] / shopSeeds
			}
			if t.Logf("%.3f times the mean without reports", ratio); ratio > 1.05 {
				t.Errorf("means are %.2f times those without reports, want at most 1.05", ratio)
			}
		})
	}
}

// Another program uses half of what a server may use of the CPU. It counts as a slower server, and
// is not shunned.
func TestAnIntruderCostsNoMoreThanItTakes(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} {
		var ours, silent, least float64
		for seed := range uint64(shopSeeds) {
			run := func(every time.Duration, pick func([]int) int) float64 {
				s := service(seed+1, every)
				s.cron, s.event, s.ends, s.pick = true, 40*time.Second, 70*time.Second, pick
				s.run(t)
				return s.meanDuring / shopSeeds
			}
			ours += run(every, nil)
			silent += run(0, nil)
			least += run(0, leastConnections)
		}
		if ours > 1.05*silent || ours > 1.05*least {
			t.Errorf("reports every %v: a mean of %.0f ms meanwhile, without reports %.0f, with least connections %.0f; want at most 1.05 times either", every, 1e3*ours, 1e3*silent, 1e3*least)
		}
	}
}

// A server that joins while its agent's first windows reach back to when it had nothing to
// do is not taken for one with many slots.
func TestAServerThatJoinsIsNotOverrated(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} {
		ratio := 0.
		for seed := range uint64(shopSeeds) {
			run := func(every time.Duration) shop {
				s := service(seed+1, every)
				s.quotas = append(s.quotas, .25)
				s.joins, s.event, s.ends = 4, 40*time.Second, 60*time.Second
				s.watch = func(now balance.Instant, p *balance.Pool) {
					for _, v := range p.Views(now) {
						if v.Slots > 4 {
							t.Fatalf("seed %d: %.1f slots are believed of server %s, which has one", seed+1, v.Slots, v.Spec.ID)
						}
					}
				}
				s.run(t)
				return s
			}
			ratio += run(every).meanDuring / run(0).meanDuring / shopSeeds
		}
		if t.Logf("reports every %v: %.3f times the mean without reports", every, ratio); ratio > 1.05 {
			t.Errorf("reports every %v: means after it has joined are %.2f times those without reports, want at most 1.05", every, ratio)
		}
	}
}
