package balance

import "math"

// voice is whether a server's counts of its requests are about the requests that we know of. A count has ours in it, so it rises and falls with
// them. One that is always the same, random, or of long ago does not. It is then no use to take what it has beyond ours for others' requests, unless answers
// are slower than ours alone explain: where others come, we give a server fewer the more it has, and the count may hardly move at all.
type voice struct {
	weight     float64 // of the reports, faded
	n, l       float64 // sums of the counts, and of our leases when they came
	nn, ll, nl float64 // and of their squares and product
	lost       bool    // its counts are not taken
	expected   float64 // mean of how much slower answers are with the others that it claims, and
	slower     float64 // of how much slower they are, both in logarithms
	answers    float64 // that these are means of, at most voiceAnswers
}

const (
	voiceMemory  = 50.  // reports that count
	voiceEnough  = 20.  // reports before anything is said
	voiceMoves   = 1.   // sum of both variances from which they say something
	voiceNoise   = .5   // of the variance of the difference: what was under way between us and the server
	voiceLost    = .85  // share of both variances from which on the difference's shows no connection
	voiceBack    = .4   // and below which it shows one
	voiceCounts  = .7   // of ours that it counts at least: less does no harm, as nothing is left for others
	voiceAnswers = 200. // answers that count
	voiceSlow    = .05  // logarithm: others that delay answers by less cannot be told from none
	voiceErrors  = 1.5  // standard errors of slower, for answers whose logarithms deviate by 1
)

// report takes a count, and our leases at the server.
func (v *voice) report(count, leases float64) {
	keep := 1 - 1/voiceMemory
	v.weight = v.weight*keep + 1
	v.n, v.l = v.n*keep+count, v.l*keep+leases
	v.nn, v.ll, v.nl = v.nn*keep+count*count, v.ll*keep+leases*leases, v.nl*keep+count*leases
	if v.weight < voiceEnough {
		return
	}
	n, l := v.n/v.weight, v.l/v.weight
	nn, ll, nl := max(0, v.nn/v.weight-n*n), max(0, v.ll/v.weight-l*l), v.nl/v.weight-n*l
	if nn+ll < voiceMoves {
		return
	}
	apart := max(0, nn+ll-2*nl-voiceNoise) / (nn + ll)
	switch {
	case apart < voiceBack || n < voiceCounts*l || v.isBorneOut():
		v.lost = false
	case apart > voiceLost:
		v.lost = true
	}
}

// answer takes how much slower an answer was than our own requests explain, and how much slower it would be with the others that are claimed.
func (v *voice) answer(slower, expected float64) {
	v.answers = min(v.answers+1, voiceAnswers)
	v.slower += (slower - v.slower) / v.answers
	v.expected += (expected - v.expected) / v.answers
}

// isBorneOut reports whether answers are slower, as the others that are claimed would have it.
func (v *voice) isBorneOut() bool {
	return v.expected > voiceSlow && v.slower > v.expected/2+voiceErrors/math.Sqrt(max(1, v.answers))
}

// hearOthers holds an answer's time against the others that the server claims to have.
func (s *Server) hearOthers(now Instant, crowd, latency float64) {
	c := s.capacity.slots
	own := max(1, crowd-max(0, s.load.at(now)))
	alone := s.Service() * s.Growth(own) * max(1, own/c)
	s.voice.answer(math.Log(latency/alone), math.Log(max(1, (own+max(0, s.claimed))/c)/max(1, own/c)))
}
