package sim

import (
	"context"
	"math"
	"strings"
	"sync"
)

// Comparison is one scenario under several policies.
type Comparison struct {
	Scenario Scenario
	Results  []Result // the policies' in the order asked for, then the ideal's if it has one; means over the seeds
}

// job is all runs of one policy in one scenario.
type job struct {
	scenario Scenario
	policy   string
	runs     []Result // by seed
}

// Compare runs a scenario under every policy with every seed, on at most two cores.
// The order in which runs end does not show in the result. Its error is the context's
// cause. The scenario must be valid and the names known.
func Compare(ctx context.Context, s Scenario, policies []string, seeds []uint64) (Comparison, error) {
	var jobs []*job
	begin := func(s Scenario, policy string) *job {
		jobs = append(jobs, &job{scenario: s, policy: policy, runs: make([]Result, len(seeds))})
		return jobs[len(jobs)-1]
	}
	for _, name := range policies {
		begin(s, name)
	}
	var ideal, silent, calm, untold *job
	if s.HasIdeal() {
		ideal = begin(s, Ideal)
	}
	shown := len(jobs)
	if s.hasGoal("/no-reports") { // one more: the first policy without reports
		silent = begin(s, policies[0])
		silent.scenario.Reports = Reports{}
	}
	if s.hasGoal("/no-faults") { // and without faults
		calm = begin(s.withoutFaults(), policies[0])
	}
	if s.hasGoal("/untold") { // and without sizes
		untold = begin(s, policies[0])
		untold.scenario.Size, untold.scenario.untold = Size{}, true
	}
	if err := runAll(ctx, jobs, seeds); err != nil {
		return Comparison{}, err
	}
	c := Comparison{Scenario: s.WithDefaults()}
	for i, j := range jobs[:shown] {
		for k := range seeds {
			r := &j.runs[k]
			if ideal != nil {
				r.compare(ideal.runs[k])
			}
			if i == 0 && silent != nil {
				r.compareSilent(silent.runs[k])
			}
			if i == 0 && untold != nil {
				r.P99Untold, r.LargestUntold = r.P99/untold.runs[k].P99, r.MeanLargest/untold.runs[k].MeanLargest
			}
			if i == 0 && calm != nil {
				r.TroubleCalm = r.TroubleP99 / calm.runs[k].TroubleP99
			}
		}
		c.Results = append(c.Results, mean(j.runs))
	}
	c.comparePeers()
	return c, nil
}

// runAll runs all jobs with every seed.
func runAll(ctx context.Context, all []*job, seeds []uint64) error {
	todo := make(chan [2]int)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for at := range todo {
				j := all[at[0]]
				j.runs[at[1]] = Run(j.scenario, j.policy, seeds[at[1]])
			}
		})
	}
	for i := range all {
		for k := range seeds {
			if ctx.Err() == nil {
				todo <- [2]int{i, k}
			}
		}
	}
	close(todo)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// comparePeers sets the ratios of our own policies' figures to those of the best of the peers that choose at the edges by true weights.
func (c *Comparison) comparePeers() {
	best := Result{Mean: math.Inf(1), P99: math.Inf(1), P999: math.Inf(1)}
	for i := range c.Results {
		r := &c.Results[i]
		name, v := cutView(r.Policy)
		if !isPeer(name) || v.one || c.Scenario.Blind && !v.weights || strings.HasSuffix(name, "-unweighted") {
			continue
		}
		best.Mean, best.P99, best.P999 = min(best.Mean, r.Mean), min(best.P99, r.P99), min(best.P999, r.P999)
		best.Goodput = max(best.Goodput, r.Goodput)
	}
	for i := range c.Results {
		r := &c.Results[i]
		r.MeanPeer, r.P99Peer, r.P999Peer, r.GoodputPeer = math.NaN(), math.NaN(), math.NaN(), math.NaN()
		if name, _ := cutView(r.Policy); isPeer(name) || name == Ideal || math.IsInf(best.Mean, 1) {
			continue
		}
		r.MeanPeer, r.P99Peer, r.P999Peer, r.GoodputPeer = r.Mean/best.Mean, r.P99/best.P99, r.P999/best.P999, r.Goodput/best.Goodput
	}
}
