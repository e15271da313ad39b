package balance

import "time"

// trip learns the round trip between master and edges, with all that delays word on the way: the time from a
// lease's grant until the master learns that it is over, less the time that its edge measured in between. It is
// the median of what is seen, so that no single edge or pause decides it.
type trip struct {
	seconds float64
	seen    int
}

const (
	tripStep  = .01 // by which one sample moves the trip
	tripFirst = .2  // by which the first samples move it, of which there are
	tripSoon  = 32
	leastTrip = 1e-6 // seconds
	mostTrip  = 10.  // seconds
)

// begin sets what is taken for the trip as long as nothing has been seen.
func (t *trip) begin(told time.Duration) {
	if t.seen == 0 {
		t.seconds = told.Seconds()
	}
}

func (t *trip) observe(seconds float64) {
	step := tripStep
	if t.seen < tripSoon {
		t.seen++
		step = tripFirst
	}
	if seconds > t.seconds {
		t.seconds = min(t.seconds*(1+step), mostTrip)
	} else {
		t.seconds = max(t.seconds/(1+step), leastTrip)
	}
}
