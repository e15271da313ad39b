package sim

import (
	"context"
	"sync"
)

// Comparison is one scenario under several policies.
type Comparison struct {
	Scenario Scenario
	Results  []Result // the policies' in the order asked for, then the ideal's if it has one; means over the seeds
}

// Compare runs a scenario under every policy with every seed, on at most two cores.
// The order in which runs end does not show in the result. Its error is the context's
// cause. The scenario must be valid and the names known.
func Compare(ctx context.Context, s Scenario, policies []string, seeds []uint64) (Comparison, error) {
	names := policies
	if s.HasIdeal() {
		names = append(names[:len(names):len(names)], Ideal)
	}
	scenarios := make([]Scenario, len(names))
	for i := range scenarios {
		scenarios[i] = s
	}
	if s.hasSilentGoal() { // one more: the first policy without reports
		silent := s
		silent.Reports = Reports{}
		names, scenarios = append(names[:len(names):len(names)], policies[0]), append(scenarios, silent)
	}
	runs := make([][]Result, len(names))
	jobs := make(chan [2]int)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for job := range jobs {
				runs[job[0]][job[1]] = Run(scenarios[job[0]], names[job[0]], seeds[job[1]])
			}
		})
	}
	for i := range names {
		runs[i] = make([]Result, len(seeds))
		for j := range seeds {
			if ctx.Err() == nil {
				jobs <- [2]int{i, j}
			}
		}
	}
	close(jobs)
	workers.Wait()
	if ctx.Err() != nil {
		return Comparison{}, context.Cause(ctx)
	}
	c := Comparison{Scenario: s.WithDefaults()}
	if s.hasSilentGoal() {
		silent := runs[len(runs)-1]
		runs = runs[:len(runs)-1]
		for j := range seeds {
			runs[0][j].compareSilent(silent[j])
		}
	}
	for i := range runs {
		for j := range seeds {
			if s.HasIdeal() {
				runs[i][j].compare(runs[len(runs)-1][j])
			}
		}
		c.Results = append(c.Results, mean(runs[i]))
	}
	return c, nil
}
