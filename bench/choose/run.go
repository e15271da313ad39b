//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// run is one system's turn at one plan. Times are in seconds.
type run struct {
	Scenario  string
	System    string
	Seed      uint64
	Requests  int // that count
	Errors    int
	Statuses  map[int]int // of answers other than 200; 0: no answer
	P50, P99  float64
	IdealP50  float64
	IdealP99  float64
	Ratio     float64 // P99 over the ideal's
	Simulated float64 // the same in the simulator; NaN: not run
	Late      float64 // 99 % of requests were sent no later than this after their time
	Busy      float64 // share of the machine's processors
	Choosers  float64 // processors used by edges and master, or by the peers
	Noisy     bool    // the sender was too late for the figures to be trusted
	Learnt    []learnt
}

// trusted is the lateness of the sender, over the ideal's p50, up to which a run counts
// without a mark.
const trusted = .05

// turn plays a plan until the sender was in time, or often enough, and keeps the run
// whose sender was best.
func turn(ctx context.Context, cfg *config, p *plan, s *system, seed uint64) (best run, err error) {
	for again := 0; again <= cfg.repeats; again++ {
		r, err := play(ctx, cfg, p, s, seed)
		if err != nil && again > 0 && ctx.Err() == nil {
			cfg.say("  %v; the run before counts", err)
			break
		}
		if err != nil {
			return best, err
		}
		if again == 0 || r.Late < best.Late {
			best = r
		}
		if best.Noisy = best.Late > trusted*best.IdealP50; !best.Noisy {
			break
		}
		cfg.say("  %s: requests were sent up to %.1f ms late (p99); %s", s.name, 1e3*r.Late, map[bool]string{true: "once more", false: "marked as noisy"}[again < cfg.repeats])
	}
	of := p.scenario
	of.Blind = s.name == ours
	best.Simulated = sim.Run(of, s.model, seed).P99 / sim.Run(of, sim.Ideal, seed).P99
	return best, nil
}

const (
	ours      = "evenkeel"
	tailLimit = time.Minute // for answers after the last request was sent
)

// play sends the plan's requests through a system that has just started.
func play(ctx context.Context, cfg *config, p *plan, s *system, seed uint64) (run, error) {
	r := run{Scenario: p.id, System: s.name, Seed: seed, IdealP50: p.ideal.P50, IdealP99: p.ideal.P99}
	if err := quiet(ctx, cfg.patience); err != nil {
		return r, err
	}
	st, err := newStage(ctx, cfg, p, s)
	defer st.stop()
	if err != nil {
		return r, err
	}
	trace := make([]load.Arrival, len(p.trace))
	for i, q := range p.trace {
		trace[i] = q.Arrival
		if q.edge < 0 {
			trace[i].URL = "http://" + st.servers[q.server] + "/"
		} else {
			trace[i].URL = st.edges[q.edge]
		}
	}
	length := trace[len(trace)-1].At
	before, err := measure(st.pids)
	if err != nil {
		return r, err
	}
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, length+tailLimit)
	defer cancel()
	t := tally{plan: p, statuses: make(map[int]int)}
	var work sync.WaitGroup
	work.Go(func() { t.send(within, trace) })
	r.Learnt, err = st.watch(within, length, fmt.Sprintf("%s-%d", p.id, seed))
	work.Wait()
	after, failed := measure(st.pids)
	if err := errors.Join(err, failed, context.Cause(ctx)); err != nil {
		return r, err
	}
	r.Busy = (after.busy - before.busy) / (after.total - before.total)
	r.Choosers = (after.own - before.own).Seconds() / time.Since(began).Seconds()
	if len(t.took) == 0 {
		return r, fmt.Errorf("%s: none of %d requests was answered by 200: %v", s.name, t.errors, t.statuses)
	}
	t.fill(&r)
	return r, nil
}

// watch looks twice at what our master has learnt; it does nothing with a peer.
func (s *stage) watch(ctx context.Context, length time.Duration, name string) (seen []learnt, err error) {
	if s.admin == "" {
		return nil, nil
	}
	began := time.Now()
	for _, share := range []float64{.5, .95} {
		at := time.Duration(share * float64(length))
		select {
		case <-time.After(time.Until(began.Add(at))):
		case <-ctx.Done():
			return seen, nil
		}
		l, err := s.look(ctx, fmt.Sprintf("%s-at-%.0f%%.json", name, 100*share))
		if err != nil {
			return seen, fmt.Errorf("what the master has learnt: %w", err)
		}
		seen = append(seen, l)
	}
	return seen, nil
}

// tally collects the results that count.
type tally struct {
	plan     *plan
	took     []time.Duration
	late     []time.Duration
	errors   int
	statuses map[int]int
}

func (t *tally) send(ctx context.Context, trace []load.Arrival) {
	client := load.NewSender(load.Limits{})
	defer client.Close()
	load.Send(ctx, client, nil, trace, t.add)
}

func (t *tally) add(r load.Result) {
	if !t.plan.counts(r.Index) {
		return
	}
	t.late = append(t.late, r.Late)
	if r.Status != 200 {
		t.errors++
		t.statuses[r.Status]++
		return
	}
	t.took = append(t.took, r.Took)
}

func (t *tally) fill(r *run) {
	slices.Sort(t.took)
	slices.Sort(t.late)
	r.Requests, r.Errors, r.Statuses = len(t.took)+t.errors, t.errors, t.statuses
	r.P50, r.P99 = load.Quantile(t.took, .5).Seconds(), load.Quantile(t.took, .99).Seconds()
	r.Late = load.Quantile(t.late, .99).Seconds()
	r.Ratio = r.P99 / r.IdealP99
}
