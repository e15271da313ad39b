package balance

import "math"

// growth learns by how much latencies grow with the requests present even up to the slots, as they do where
// requests are worked on in batches, or where what was told for slots is none. It is one exponent for
// the pool: n requests take n to the power of it times as long as one alone. It is a regression within servers, of
// logarithms of latencies on those of the requests present, so that it does not matter which of them is fast.
type growth struct {
	exponent float64              // zero: none
	table    [growthSizes]float64 // n to its power, by n
}

const (
	growthSizes  = 65
	growthPrior  = .2  // standard deviation of exponents, before anything is learnt
	growthMost   = 1.  // beyond, requests would better wait
	growthMoves  = .01 // by less the exponent is not changed: all scores hang on it
	growthErrors = 1.  // standard errors that chance is taken to have made of it
)

// rise is what one server tells of growth: sums over its samples up to its slots, of the logarithms of requests
// present and of latencies, each less its mean.
type rise struct{ xx, xy float64 }

// logSizes are the logarithms of crowdSizes.
var logSizes = func() (table [crowds]float64) {
	for i, size := range crowdSizes {
		table[i] = math.Log(size)
	}
	return table
}()

// riseTo returns what the samples with no more requests than slots tell.
func (k *knee) riseTo(slots float64) (r rise) {
	var w, x, y float64
	for i, weight := range k.weight {
		if crowdSizes[i] <= slots+slotsError && weight > 0 {
			w += float64(weight)
			x += float64(weight) * logSizes[i]
			y += float64(k.sum[i])
		}
	}
	if w == 0 {
		return r
	}
	x, y = x/w, y/w
	for i, weight := range k.weight {
		if crowdSizes[i] <= slots+slotsError && weight > 0 {
			off := logSizes[i] - x
			r.xx += float64(weight) * off * off
			r.xy += off * (float64(k.sum[i]) - float64(weight)*y)
		}
	}
	return r
}

// conclude takes what all servers tell together, and reports whether the exponent has changed.
func (g *growth) conclude(r rise, variance float64) (changed bool) {
	variance = max(variance, leastVariance)
	exponent := 0.
	if r.xx > 0 {
		exponent = (r.xy - growthErrors*math.Sqrt(variance*r.xx)) / (r.xx + variance/(growthPrior*growthPrior))
	}
	exponent = min(max(0, exponent), growthMost)
	if math.Abs(exponent-g.exponent) < growthMoves && (exponent > 0 || g.exponent == 0) {
		return false
	}
	g.exponent = exponent
	for n := range g.table {
		g.table[n] = math.Pow(float64(n), exponent)
	}
	g.table[0] = g.table[1]
	return true
}

// at returns how many times as long as alone a request takes where there are n, itself included.
func (g *growth) at(n float64) float64 {
	if g.exponent == 0 || n <= 1 {
		return 1
	}
	if n >= growthSizes-1 {
		return math.Pow(n, g.exponent)
	}
	below := int(n)
	return g.table[below] + (n-float64(below))*(g.table[below+1]-g.table[below])
}
