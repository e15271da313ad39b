package sim

import (
	"math"
	"slices"
)

// Figures are the names of what goals bound:
//
//	p99/ideal, mean/ideal   over the ideal's
//	p99/no-reports, mean/no-reports   over those of a run in which no server reports
//	p99/untold              over that of a run in which no request tells its size
//	largest/untold          mean time of the largest hundredth of the requests, over theirs in that run
//	makespan/bound          time until a batch is done, over what no order could beat: all work on all slots, or its largest request on the fastest slot
//	p99                     seconds
//	errors                  share of requests, during faults if there are any
//	trouble-p99/p99         p99 of what arrived during faults, over that of all the rest
//	trouble-p99/no-faults   the same, over that of the same requests in a run without faults
//	mean/peer, p99/peer, p999/peer   over those of the best peer that chooses at the edges by true weights
//	goodput/peer            over that of the same peer
//	in-time                 share of the first tenant's requests answered within the deadline
//	goodput                 requests answered within the deadline, over those of mean work that the servers could do
var Figures = []string{"p99/ideal", "mean/ideal", "p99/no-reports", "mean/no-reports", "p99/untold", "largest/untold", "makespan/bound", "p99", "errors", "trouble-p99/p99", "trouble-p99/no-faults", "in-time", "goodput",
	"mean/peer", "p99/peer", "p999/peer", "goodput/peer"}

// Figure returns one of Figures; NaN if the name is another.
func (r Result) Figure(name string) float64 {
	switch name {
	case "p99/ideal":
		return r.P99Ideal
	case "mean/ideal":
		return r.MeanIdeal
	case "p99/no-reports":
		return r.P99Silent
	case "mean/no-reports":
		return r.MeanSilent
	case "p99/untold":
		return r.P99Untold
	case "makespan/bound":
		return r.Makespan
	case "largest/untold":
		return r.LargestUntold
	case "p99":
		return r.P99
	case "errors":
		return r.Errors
	case "trouble-p99/p99":
		return r.TroubleP99 / r.CalmP99
	case "trouble-p99/no-faults":
		return r.TroubleCalm
	case "mean/peer":
		return r.MeanPeer
	case "p99/peer":
		return r.P99Peer
	case "p999/peer":
		return r.P999Peer
	case "goodput/peer":
		return r.GoodputPeer
	case "in-time":
		return r.InTime[0]
	case "goodput":
		return r.Goodput
	}
	return math.NaN()
}

// compare sets the ratios to the ideal's run with the same seed.
func (r *Result) compare(ideal Result) {
	r.P99Ideal, r.MeanIdeal = r.P99/ideal.P99, r.Mean/ideal.Mean
}

// compareSilent sets the ratios to a run in which no server reports, with the same seed.
func (r *Result) compareSilent(silent Result) {
	r.P99Silent, r.MeanSilent = r.P99/silent.P99, r.Mean/silent.Mean
}

// pooled returns the p99.9 of all runs' requests together: in one run it rests on few.
func pooled(runs []Result) float64 {
	var slowest []float64
	requests := 0
	for i := range runs {
		slowest, requests = append(slowest, runs[i].slowest...), requests+runs[i].Requests
	}
	slices.Sort(slowest)
	return quantile(slowest, 1-(1-.999)*float64(requests)/float64(len(slowest)))
}

// mean averages runs of one policy, figure by figure; that of ratios is the mean of
// the runs' ratios, and p99.9 is that of all requests.
func mean(runs []Result) Result {
	m := runs[0]
	m.InTime, m.Curve = make([]float64, len(m.InTime)), make([]float64, len(m.Curve))
	each := func(of func(*Result) *float64) {
		sum := 0.
		for i := range runs {
			sum += *of(&runs[i])
		}
		*of(&m) = sum / float64(len(runs))
	}
	for _, of := range []func(r *Result) *float64{
		func(r *Result) *float64 { return &r.Errors }, func(r *Result) *float64 { return &r.Refused }, func(r *Result) *float64 { return &r.Mean },
		func(r *Result) *float64 { return &r.P50 }, func(r *Result) *float64 { return &r.P95 },
		func(r *Result) *float64 { return &r.P99 }, func(r *Result) *float64 { return &r.P999 },
		func(r *Result) *float64 { return &r.Utilization }, func(r *Result) *float64 { return &r.CalmP99 },
		func(r *Result) *float64 { return &r.TroubleP99 }, func(r *Result) *float64 { return &r.Goodput },
		func(r *Result) *float64 { return &r.P99Ideal }, func(r *Result) *float64 { return &r.MeanIdeal },
		func(r *Result) *float64 { return &r.P99Silent }, func(r *Result) *float64 { return &r.MeanSilent },
		func(r *Result) *float64 { return &r.TroubleCalm }, func(r *Result) *float64 { return &r.P99Untold },
		func(r *Result) *float64 { return &r.MeanLargest }, func(r *Result) *float64 { return &r.LargestUntold }, func(r *Result) *float64 { return &r.Makespan },
	} {
		each(of)
	}
	m.P999 = pooled(runs)
	for i := range m.InTime {
		each(func(r *Result) *float64 { return &r.InTime[i] })
	}
	for i := range m.Curve {
		each(func(r *Result) *float64 { return &r.Curve[i] })
	}
	return m
}
