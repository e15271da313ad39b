package balance

import "math"

// knee learns c from latencies alone, for servers that report no utilisation: up to c
// requests latency stays level, beyond it grows with their number. It keeps the mean
// logarithm of latencies by how many requests were present at the start, and takes the
// smallest c that these means do not reject. A larger one may fit as well, but would
// send more than the server can take before it was found out.
type knee struct {
	weight, sum [crowds]float32 // of logarithms of latencies, faded
	fresh       int             // samples since c was last worked out
	c           float64         // zero: not yet
}

const (
	crowds     = 14
	kneeEvery  = 64  // samples from one working out to the next
	kneeKeep   = .94 // of the samples' weight, each time: about a thousand count
	kneeReject = 2.  // times the variance of one sample; from a half to four all do, ten is worse
)

// crowdSizes are the numbers of requests that are told apart.
var crowdSizes = [crowds]float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128}

func crowdOf(n float64) int {
	for i, size := range crowdSizes {
		if n <= size+.5 {
			return i
		}
	}
	return crowds - 1
}

// observe takes the logarithm of a latency and the requests present at its start,
// itself included. variance is that of such logarithms in the whole pool.
func (k *knee) observe(n, log, variance float64) {
	i := crowdOf(n)
	k.weight[i]++
	k.sum[i] += float32(log)
	if k.fresh++; k.fresh >= kneeEvery {
		k.solve(variance)
		k.fresh = 0
		for i := range k.weight {
			k.weight[i] *= kneeKeep
			k.sum[i] *= kneeKeep
		}
	}
}

func (k *knee) solve(variance float64) {
	var misfit [crowds]float64
	best := math.Inf(1)
	for i, c := range crowdSizes {
		misfit[i] = k.misfit(c)
		best = min(best, misfit[i])
	}
	for i, c := range crowdSizes {
		if misfit[i] <= best+kneeReject*variance {
			k.c = c
			return
		}
	}
}

// misfit is how far the means are, squared and weighted, from a level up to c and a
// straight rise beyond, at the height that fits best.
func (k *knee) misfit(c float64) (square float64) {
	var total, mean float64
	for i, w := range k.weight {
		if w > 0 {
			total += float64(w)
			mean += float64(k.sum[i]) - float64(w)*math.Log(max(1, crowdSizes[i]/c))
		}
	}
	mean /= total
	for i, w := range k.weight {
		if w > 0 {
			off := float64(k.sum[i]/w) - math.Log(max(1, crowdSizes[i]/c)) - mean
			square += float64(w) * off * off
		}
	}
	return square
}
