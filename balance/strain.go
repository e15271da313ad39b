package balance

import "math"

// strain tells how much slower a server has answered of late than our own requests there
// explain: 0 if not at all. It is a mean of logarithms, as b is; what is true but for chance
// averages out of it. Other people's requests show in it however little is reported of them,
// and where it shows none, reports of many are wrong.
type strain struct {
	mean   float64 // of the logarithms of answers' times over what they should have been
	weight float64 // how many answers it speaks for, faded
	last   Instant
}

const (
	strainAnswers  = 12. // answers that count, at most
	strainMemory   = 1.  // seconds that an answer counts, or
	strainServices = 10. // services, if they are longer
	strainLikely   = 2.  // standard deviations that the truth hardly is beyond the mean
	strainSpread   = .5  // least that is taken for the standard deviation of one answer
)

func (t *strain) observe(now Instant, log, memory float64) {
	t.weight = min(t.left(now, memory)+1, strainAnswers)
	t.mean += (log - t.mean) / t.weight
	t.last = now
}

func (t *strain) left(now Instant, memory float64) float64 {
	return t.weight * math.Exp(-seconds(now.Sub(t.last))/memory)
}

// most returns how many times as slow as our own requests explain the server may be, going
// by its answers; infinite if there are none that are recent.
func (t *strain) most(now Instant, memory, variance float64) float64 {
	answers := t.left(now, memory)
	if answers < .5 {
		return math.Inf(1)
	}
	return math.Exp(t.mean + strainLikely*max(strainSpread, math.Sqrt(variance))/math.Sqrt(answers))
}

// strainMemory returns how long an answer of this server counts, in seconds.
func (s *Server) strainMemory() float64 { return max(strainMemory, strainServices*s.mean()) }
