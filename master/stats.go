package master

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// poolStats is what a pool counts for /metrics: plain numbers under the pool's lock, which every pick holds
// anyway.
type poolStats struct {
	picks         [verdicts]uint64 // by balance.Reason; 0 is granted
	reports       [sources][results]uint64
	dispatches    [outcomes]uint64
	checks        [checkResults]uint64
	answerTimes   histogram
	foreignLeases [sources][leaseClaims]uint64 // claims on leases of another peer
	chosen        uint64                       // requests whose edge has chosen the server
	localAnswers  uint64                       // immediate answers to callers without a connection
	queueTimes    [waitEnds]histogram
}

// verdicts is one more than the highest balance.Reason.
const verdicts = int(balance.Overflowed) + 1

// verdictName is the label of an index of poolStats.picks.
func verdictName(v int) string {
	if v == 0 {
		return "granted"
	}
	return balance.Reason(v).String()
}

// source is where a report comes from.
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
	reportKept    result = iota
	reportFlawed         // part of it is implausible, or its server is not in the pool
	reportForeign        // an agent reported about another server
	results
)

var resultNames = [results]string{reportKept: "kept", reportFlawed: "flawed", reportForeign: "foreign"}

// leaseClaim is what a peer says about a lease.
type leaseClaim uint8

const (
	claimDone   leaseClaim = iota // it has ended
	claimHold                     // it is still held
	claimChosen                   // its edge has opened it
	leaseClaims
)

var leaseClaimNames = [leaseClaims]string{claimDone: "done", claimHold: "hold", claimChosen: "chosen"}

// outcome is how one dispatch ended.
type outcome uint8

const (
	accepted outcome = iota
	declined
	silent // no verdict in time
	agentless
	withdrawn // the ask was withdrawn
	outcomes
)

var outcomeNames = [outcomes]string{accepted: "accepted", declined: "declined", silent: "silent", agentless: "no-agent", withdrawn: "withdrawn"}

// checkResult is the result of a health check.
type checkResult uint8

const (
	passed checkResult = iota
	failed
	checkResults
)

var checkResultNames = [checkResults]string{passed: "passed", failed: "failed"}

// waitEnd is how a wait in the queue ended.
type waitEnd uint8

const (
	served    waitEnd = iota
	shed              // the deadline or the longest wait came first
	displaced         // by other requests, when the queue was full
	withdrew          // the ask was withdrawn
	removed           // with its pool
	wentOn            // to another pool
	waitEnds
)

var waitEndNames = [waitEnds]string{served: "served", shed: "shed", displaced: "displaced", withdrew: "withdrawn", removed: "pool-removed", wentOn: "overflow"}

// histogram counts durations by bounds.
type histogram struct {
	counts [len(bounds) + 1]uint64
	sum    time.Duration
}

var bounds = [...]time.Duration{
	500, 1e3, 2e3, 5e3, 10e3, 20e3, 50e3, 100e3, 200e3, 500e3, // up to half a millisecond
	1e6, 5e6, 20e6, 100e6, 500e6, 2e9, 10e9, 60e9, // with waits for verdicts or in the queue
}

func (h *histogram) observe(d time.Duration, n int) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i] += uint64(n)
	h.sum += d * time.Duration(n)
}

// cumulative returns the count, the sum in seconds, and the counts by upper bound in seconds, as Prometheus
// needs them.
func (h *histogram) cumulative() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		count += h.counts[i]
		buckets[bound.Seconds()] = count
	}
	return count + h.counts[len(bounds)], h.sum.Seconds(), buckets
}
