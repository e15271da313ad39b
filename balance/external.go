package balance

import (
	"math"
	"time"
)

// external estimates x, the load that our ledger does not know of: other
// balancers' requests, direct traffic, a neighbour on the machine.
type external struct {
	x        float64       // moving average of samples, which err to both sides
	reported Instant       // when x was last corrected; zero: never
	interval time.Duration // moving average of the time between reports
}

const (
	externalGain    = .2
	firstInterval   = time.Second // until two reports have come
	longestInterval = 10 * time.Second
	missedReports   = 5 // after as many, x counts half
)

// correct takes a sample of x from a report. The first one counts in full, as far as fresh, from 0 to 1, says.
func (e *external) correct(now Instant, sample, fresh float64) {
	if e.reported == 0 {
		*e = external{x: sample * fresh, reported: now, interval: firstInterval}
		return
	}
	e.x *= e.trust(now)
	e.x += externalGain * fresh * (sample - e.x)
	e.interval += time.Duration(externalGain * float64(min(now.Sub(e.reported), longestInterval)-e.interval))
	e.reported = now
}

// usual returns the mean time between reports.
func (e *external) usual() time.Duration {
	if e.reported == 0 {
		return firstInterval
	}
	return e.interval
}

// at returns x. Only the average is bounded below, never a sample: cutting off the
// samples that err downwards would leave a load that is not there.
func (e *external) at(now Instant) float64 {
	if e.x <= 0 {
		return 0
	}
	return e.faded(now)
}

func (e *external) faded(now Instant) float64 { return e.x * e.trust(now) }

// trust halves with every missedReports reports that should have come and did not,
// so a server is neither shunned nor favoured for long on an old word.
func (e *external) trust(now Instant) float64 {
	late := now.Sub(e.reported) - e.interval
	if late <= 0 {
		return 1
	}
	return math.Exp2(-float64(late) / float64(missedReports*max(e.interval, 10*time.Millisecond)))
}
