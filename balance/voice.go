package balance

import "math"

// voice tells whether a server's counts of its requests are about the requests that we know of. A count contains ours: when our leases rise by
// one between two reports, so does the count, on average, whatever others do meanwhile. A count that is always the same, random, or of long
// ago does not follow. No requests of others are taken from it then.
//
// It is the regression of the count's changes on our leases' changes. Changes, not levels: where others come, a server is given fewer
// requests the more it has, so that its level may hardly move at all.
type voice struct {
	taken          Instant // the sample before; zero: there is none
	count, leases  float64 // what it was
	weight         float64 // of the samples, faded
	cc, ll, cl     float64 // sums of the squares of both changes, and of their product
	llll           float64 // sum of the fourth powers of the leases' changes
	level, present float64 // sums of the counts and of the leases
	lost           bool    // the counts are not taken
	unsure         bool    // they have not turned out to be about our requests, though these have moved enough to show it
}

const (
	voiceMemory = 200. // samples that count
	voiceEnough = 20.  // samples before anything is said
	voiceShared = 5.   // samples that the leases' changes are to be spread over: a slope that rests on few of them is one chance
	voiceMoves  = 20.  // sum of the squares of our leases' changes before anything is said
	voiceErrors = 2.   // standard errors that the slope is less than voiceSlope, for the voice to be lost, or more, for it to be sure
	voiceSlope  = .5   // half of our requests show in the count
	voiceBack   = .7   // slope from which the voice is back
	voiceLess   = .7   // part of our leases below which a count does no harm: nothing is left for others
	voiceApart  = .05  // least time between two samples in seconds, or a mean request, if that is longer
)

// report takes a count and our leases at the server, unless the last sample was not long enough ago for word under way to matter little.
func (v *voice) report(now Instant, count, leases, mean float64) {
	if v.taken != 0 && seconds(now.Sub(v.taken)) < max(voiceApart, mean) {
		return
	}
	c, l := count-v.count, leases-v.leases
	first := v.taken == 0
	v.taken, v.count, v.leases = now, count, leases
	if first {
		return
	}
	const keep = 1 - 1/voiceMemory
	v.weight = v.weight*keep + 1
	v.cc, v.ll, v.cl = v.cc*keep+c*c, v.ll*keep+l*l, v.cl*keep+c*l
	v.llll = v.llll*keep + l*l*l*l
	v.level, v.present = v.level*keep+count, v.present*keep+leases
	if v.weight < voiceEnough || v.ll < voiceMoves || v.ll*v.ll < voiceShared*v.llll {
		return
	}
	slope := v.cl / v.ll
	deviation := math.Sqrt(max(0, v.cc-slope*v.cl) / v.weight / v.ll)
	v.unsure = slope-voiceErrors*deviation <= voiceSlope
	switch {
	case slope >= voiceBack || v.level < voiceLess*v.present:
		v.lost = false
	case slope+voiceErrors*deviation < voiceSlope:
		v.lost = true
	}
}
