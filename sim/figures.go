package sim

import "math"

// Figures are the names of what goals bound.
var Figures = []string{"p99/ideal", "mean/ideal", "p99", "errors", "trouble-p99/p99", "in-time", "goodput"}

// Figure returns one figure of a result; ideal is that of the same scenario and seed.
//
//	p99/ideal, mean/ideal   over the ideal's
//	p99                     seconds
//	errors                  share of requests, during faults if there are any
//	trouble-p99/p99         p99 of what arrived during faults, over that of all the rest
//	in-time                 share of the first tenant's requests answered within the deadline
//	goodput                 work answered within the deadline, over what the servers could do
func Figure(name string, r, ideal Result) float64 {
	switch name {
	case "p99/ideal":
		return r.P99 / ideal.P99
	case "mean/ideal":
		return r.Mean / ideal.Mean
	case "p99":
		return r.P99
	case "errors":
		return r.Errors
	case "trouble-p99/p99":
		return r.TroubleP99 / r.CalmP99
	case "in-time":
		return r.InTime[0]
	case "goodput":
		return r.Goodput
	}
	return math.NaN()
}
