package balance

import (
	"math"
	"time"
)

// health keeps what outcomes tell of a server. A server that fails fast looks
// idle, and without this it would draw most of the traffic.
type health struct {
	ejectedUntil Instant
	success      float32 // moving average of 1 for success, 0 for the server's fault
	inRow        uint16  // faults since the last success
	ejections    uint16  // since the last success
}

const (
	successGain  = .05
	successFloor = .01
	faultsInRow  = 5                // faults in a row that eject a server
	firstEject   = 10 * time.Second // after faults; doubles with each further one
	firstUnreach = time.Second      // after a connection that could not be made; doubles likewise
	longestEject = 5 * time.Minute
	maxDoublings = 16
)

// observe takes the result of one lease and returns whether it ejected the server.
// mayEject tells whether the pool can spare it; it is not asked when the server cannot
// be reached at all.
func (h *health) observe(now Instant, r Result, mayEject func() bool) (ejected bool) {
	switch r {
	case OK:
		if h.success < 1 {
			h.success += successGain * (1 - h.success)
		}
		h.inRow, h.ejections = 0, 0
	case Fault:
		h.fail()
		if h.inRow >= faultsInRow && mayEject() {
			return h.eject(now, firstEject)
		}
	case Unreachable:
		h.fail()
		return h.eject(now, firstUnreach)
	}
	return false
}

func (h *health) fail() {
	h.success = max(successFloor, h.success*(1-successGain))
	h.inRow = min(h.inRow+1, math.MaxUint16-1)
}

func (h *health) eject(now Instant, first time.Duration) bool {
	if now < h.ejectedUntil {
		return false // late word of the failures that ejected it
	}
	h.ejectedUntil = now.Add(min(first<<h.ejections, longestEject))
	h.ejections = min(h.ejections+1, maxDoublings)
	h.success = 1 // it pays for its faults by this; where all others are idle, a lower rate would keep it out for good
	h.inRow = 0
	return true
}
