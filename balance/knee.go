package balance

import (
	"math"
	"slices"
)

// knee learns c from latencies alone, for servers that report no utilisation: up to c
// requests latency stays level, beyond it grows with their number. It keeps the mean
// logarithm of latencies by how many requests were present at the start, and takes the
// smallest c that these means do not reject. A larger one may fit as well, but would
// send more than the server can take before it was found out.
type knee struct {
	weight, sum [crowds]float32 // of logarithms of latencies, faded
	fresh       int             // samples since c was last worked out
	rise        rise            // of latencies up to the slots
	shown       float64         // the most requests present in some of the samples
	against     float64         // what was told for slots fits worse than the best by so many variances
	bend                        // what these latencies tell
	shared      bend            // what they tell together with those of servers that are alike; zero: with none
	sharers     int             // so many servers, itself included
}

// bend is where latencies begin to rise, as far as they tell.
type bend struct {
	c      float64 // the smallest that is not rejected; zero: not known yet
	most   float64 // the largest
	beyond float32 // weight of samples with more than c requests
}

const (
	crowds      = 14
	kneeEvery   = 64  // samples from one working out to the next, or
	kneeSoon    = 16  // so many where a limit is in question, and
	kneeCrowded = 16  // requests at a server without a limit that may be in overload
	kneeTells   = 64. // times the variance of one: fewer do not show it if twice as many requests take twice as long
	kneeKeep    = .94 // of the samples' weight, each time: about a thousand count
	kneeStep    = 1.5 // from one crowd size to the next, at most
	kneeUnheard = 1.5
	kneeBeyond  = 3.  // times what latencies have shown that others' word may go beyond
	kneeShown   = 32. // samples with more than c requests, from which on c is known
	kneeReject  = 2.  // times the variance of one sample; from a half to four all do, ten is worse
	kneeMore    = 2.  // slots that there must be beyond those that were told
	kneeFew     = 8.  // samples that show how long requests take beside so many others
	refuteSlack = 1.5 // times that latencies must be against what was told before it is dropped
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

// isTold reports whether latencies, be it those of servers that are alike, tell of slots.
func (k *knee) isTold() bool { return k.c > 0 || k.shared.c > 0 }

// observe takes the logarithm of a latency and the requests present at its start,
// itself included. variance is that of such logarithms in the whole pool, slots is c as it is believed, and told as it
// was told, zero if it was not. It reports whether it has worked out c anew, which it does when there are enough
// new samples.
func (k *knee) observe(n, log, variance, slots, told, enough float64) (solved bool) {
	i := crowdOf(n)
	k.weight[i]++
	k.sum[i] += float32(log)
	if k.fresh++; float64(k.fresh) < enough {
		return false
	}
	k.solve(max(variance, leastVariance), told)
	k.rise = k.riseTo(slots)
	keep := float32(kneeKeep)
	if k.fresh < kneeEvery {
		keep = float32(math.Pow(kneeKeep, float64(k.fresh)/kneeEvery))
	}
	k.fresh = 0
	for i := range k.weight {
		k.weight[i] *= keep
		k.sum[i] *= keep
	}
	return true
}

func (k *knee) solve(variance, told float64) {
	fits := k.misfits()
	k.bend = fits.bend(variance)
	k.beyond = k.above(k.c)
	k.shown = 0
	for i, w := range k.weight {
		if w >= kneeFew {
			k.shown = crowdSizes[i]
		}
	}
	k.against = 0
	if told > 0 {
		k.against = (k.misfitOf(told) - fits.least()) / variance
	}
}

// misfitOf returns how badly so many slots fit where latencies may also grow up to them, by the exponent of a few that fits best.
func (k *knee) misfitOf(slots float64) float64 {
	best := math.Inf(1)
	for _, exponent := range [...]float64{0, .25, .5, .75} {
		var total, mean, square float64
		rise := func(i int) float64 {
			up := max(0, logSizes[i]-math.Log(slots))
			return up + exponent*(logSizes[i]-up)
		}
		for i, w := range k.weight {
			total += float64(w)
			mean += float64(k.sum[i]) - float64(w)*rise(i)
		}
		mean /= max(total, math.SmallestNonzeroFloat64)
		for i, w := range k.weight {
			if w > 0 {
				off := float64(k.sum[i]/w) - rise(i) - mean
				square += float64(w) * off * off
			}
		}
		best = min(best, square)
	}
	return best
}

// above returns the weight of the samples with more than c requests.
func (k *knee) above(c float64) (weight float32) {
	for i, w := range k.weight {
		if crowdSizes[i] > c {
			weight += w
		}
	}
	return weight
}

// allows reports whether latencies leave it open that there are so many slots. As long as they
// say nothing, only very few slots are: too few cost little, and too many cost much.
func (k *bend) allows(c float64) bool {
	if k.c == 0 {
		return c <= kneeUnheard
	}
	return c >= k.c/kneeStep && c <= min(k.most*kneeStep, k.c*kneeBeyond)
}

// leavesOpen reports whether a server with c slots may get more than limit requests to see whether it has more: latencies do not rule
// them out, as far as it has had about as many.
func (k *knee) leavesOpen(limit, c float64) bool {
	if k.c > 0 && limit > k.most && k.most < crowdSizes[crowds-1] {
		return false
	}
	return limit < max(c+1, kneeStep*max(c, k.shown))
}

// refutes reports whether latencies rule out that there are so many slots as was told: others are far from that number
// and fit better, also where latencies grow up to it. What was ruled out before needs more to be allowed again.
func (k *knee) refutes(c float64, before bool) bool {
	slack, least := refuteSlack, kneeReject
	if before {
		slack, least = 1, kneeReject/2
	}
	if k.c == 0 || k.against <= least {
		return false
	}
	return c > max(k.most*kneeStep, k.c*kneeBeyond)*slack || c*kneeStep < k.c && k.c >= c+kneeMore
}

// guess returns c, or what it usually is in the pool where the server had hardly had more
// than c requests when c was worked out, so that it may as well be larger: one that comes back
// after a time of few requests would otherwise stay at few for good.
func (k *bend) guess(usual float64) float64 {
	if k.beyond >= kneeShown {
		return k.c
	}
	return max(k.c, min(usual, k.most))
}

// misfits is, for each of crowdSizes as c, how far the means of latencies are, squared and weighted,
// from a level up to c and a straight rise beyond, at the height that fits best.
type misfits [crowds]float64

// rises is the logarithm of how much longer than alone a request takes, by c and by the requests present.
var rises = func() (table [crowds][crowds]float64) {
	for c := range table {
		for n := range table[c] {
			table[c][n] = math.Log(max(1, crowdSizes[n]/crowdSizes[c]))
		}
	}
	return table
}()

func (k *knee) misfits() (square misfits) {
	for c := range square {
		var total, mean float64
		for i, w := range k.weight {
			total += float64(w)
			mean += float64(k.sum[i]) - float64(w)*rises[c][i]
		}
		mean /= max(total, math.SmallestNonzeroFloat64)
		for i, w := range k.weight {
			if w > 0 {
				off := float64(k.sum[i]/w) - rises[c][i] - mean
				square[c] += float64(w) * off * off
			}
		}
	}
	return square
}

func (m *misfits) add(other *misfits) {
	for i := range m {
		m[i] += other[i]
	}
}

// least returns the misfit of the c that fits best.
func (m *misfits) least() float64 { return slices.Min(m[:]) }

// first returns which of crowdSizes is the smallest c that is not rejected.
func (m *misfits) first(variance float64) int {
	most := m.least() + kneeReject*variance
	return slices.IndexFunc(m[:], func(misfit float64) bool { return misfit <= most })
}

// bend returns where latencies bend; the weight of the samples beyond is left to the caller.
func (m *misfits) bend(variance float64) bend {
	b := bend{c: crowdSizes[m.first(variance)]}
	most := m.least() + kneeReject*variance
	for i, misfit := range m {
		if misfit <= most {
			b.most = crowdSizes[i]
		}
	}
	return b
}
