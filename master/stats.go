package master

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// tally is what a pool counts for /metrics: plain numbers under the pool's lock,
// which every pick holds anyway.
type tally struct {
	picks      [verdicts]uint64 // by balance.Reason; 0 is granted
	reports    [sources][results]uint64
	dispatches [outcomes]uint64
	checks     [looks]uint64
	took       histogram
	foreign    [sources][words]uint64 // said of leases that are another's
	local      uint64                 // answers at once to those who ask without a connection
	waited     [waitEnds]histogram
}

// verdicts is one more than the highest balance.Reason.
const verdicts = int(balance.Malformed) + 1

// verdictName is the label of an index of tally.picks.
func verdictName(v int) string {
	if v == 0 {
		return "granted"
	}
	return balance.Reason(v).String()
}

// source is who brought a report.
type source uint8

const (
	fromEdge source = iota
	fromAgent
	fromAPI
	fromLocal
	sources
)

var sourceNames = [sources]string{fromEdge: "edge", fromAgent: "agent", fromAPI: "api", fromLocal: "local"}

// result is what became of a report.
type result uint8

const (
	kept    result = iota
	flawed         // something in it could not be believed, or its server is not in the pool
	foreign        // an agent spoke for a server that is not its own
	results
)

var resultNames = [results]string{kept: "kept", flawed: "flawed", foreign: "foreign"}

// word is what is said of a lease.
type word uint8

const (
	wordDone word = iota // it is over
	wordHold             // it is still held
	words
)

var wordNames = [words]string{wordDone: "done", wordHold: "hold"}

// outcome is how telling one server of one request ended.
type outcome uint8

const (
	accepted outcome = iota
	declined
	silent // no verdict in time
	agentless
	withdrawn // nobody waits for the answer any more
	outcomes
)

var outcomeNames = [outcomes]string{accepted: "accepted", declined: "declined", silent: "silent", agentless: "no-agent", withdrawn: "withdrawn"}

// look is how a look at a server's health ended.
type look uint8

const (
	passed look = iota
	failed
	looks
)

var lookNames = [looks]string{passed: "passed", failed: "failed"}

// waitEnd is how a wait in the queue ended.
type waitEnd uint8

const (
	served    waitEnd = iota
	shed              // the deadline or the longest wait came first
	displaced         // by others, when the queue was full
	withdrew          // nobody waited for the answer any more
	removed           // with its pool
	waitEnds
)

var waitEndNames = [waitEnds]string{served: "served", shed: "shed", displaced: "displaced", withdrew: "withdrawn", removed: "pool-removed"}

// histogram counts durations by bounds.
type histogram struct {
	counts [len(bounds) + 1]uint64
	sum    time.Duration
}

var bounds = [...]time.Duration{
	500, 1e3, 2e3, 5e3, 10e3, 20e3, 50e3, 100e3, 200e3, 500e3, // to half a millisecond
	1e6, 5e6, 20e6, 100e6, 500e6, 2e9, 10e9, 60e9, // these wait, for a verdict or in the queue
}

func (h *histogram) observe(d time.Duration, n int) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i] += uint64(n)
	h.sum += d * time.Duration(n)
}

// cumulative returns the count, the sum in seconds and the counts by upper bound
// in seconds, as Prometheus wants them.
func (h *histogram) cumulative() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		count += h.counts[i]
		buckets[bound.Seconds()] = count
	}
	return count + h.counts[len(bounds)], h.sum.Seconds(), buckets
}
