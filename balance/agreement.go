package balance

import "math"

// agreement reports whether a reported utilisation is about the requests that we know of. If it
// is, it moves as they do, window by window. The CPU of a whole machine does not, nor does a
// figure that is smoothed over a longer time than it says; slots that are worked out from such
// a figure are anything, and what our requests do not explain of it are not other requests.
//
// It compares u, what was told, with f, what the requests make by the slots that are learnt. If u
// were any figure of that mean and variance, (u − f)² would on average be the sum of both
// variances. So what it is over that sum is 0 for what follows our requests and 1 for what
// has nothing to do with them.
type agreement struct {
	weight     float64 // of the windows, in seconds, faded
	u, f       float64 // sums of both, weighted alike
	uu, ff, uf float64 // and of their squares and product
	verdict    verdict
	unlike     bool // f is not even a multiple of it: no quota, however it is handed out, makes it so
}

type verdict uint8

const (
	unheard    verdict = iota // too little has been told yet, or nothing of it could be held against our requests
	agrees                    // it follows the requests
	contradict                // it does not
)

const (
	agreementMemory = 10.  // seconds of windows that count
	agreementEnough = 1.   // seconds of windows before anything is said
	agreementNoise  = .003 // of (u − f)²: what lumps of CPU time and late word do to any figure
	agreementScale  = 2.5  // that lumps of CPU time, and slots below one, may put f off by
	agreesBelow     = .35  // what is told follows our requests
	contradictsFrom = .55  // it does not; between the two, it is as it was
)

// observe takes one window's figures.
func (a *agreement) observe(u, f, seconds float64) {
	keep := math.Exp(-seconds / agreementMemory)
	a.weight, a.u, a.f = a.weight*keep+seconds, a.u*keep+u*seconds, a.f*keep+f*seconds
	a.uu, a.ff = a.uu*keep+u*u*seconds, a.ff*keep+f*f*seconds
	a.uf = a.uf*keep + u*f*seconds
	if a.weight < agreementEnough {
		return
	}
	apart := a.apart(1)
	switch mf := a.f / a.weight; {
	case mf < leastKnown: // next to no request of ours was there to hold it against
		a.verdict = unheard
	case apart <= agreesBelow:
		a.verdict = agrees
	case apart >= contradictsFrom:
		a.verdict = contradict
	}
	a.unlike = a.verdict == contradict && a.apart(max(1/agreementScale, min(a.u/a.f, agreementScale))) >= contradictsFrom
}

// apart returns how far u is from f, multiplied by scale.
func (a *agreement) apart(scale float64) float64 {
	mu, mf := a.u/a.weight, scale*a.f/a.weight
	uu, ff, uf := a.uu/a.weight, scale*scale*a.ff/a.weight, scale*a.uf/a.weight
	spread := max(0, uu-mu*mu) + max(0, ff-mf*mf)
	return max(0, uu+ff-2*uf-agreementNoise) / max(spread, 1e-9)
}

// leastKnown is the utilisation by our own requests below which they say nothing of a figure.
const leastKnown = .02
