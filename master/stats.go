package master

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/histogram"
)

// poolStats is what a pool counts for /metrics: plain numbers under the pool's lock, which every pick holds
// anyway.
type poolStats struct {
	picks         [verdicts]uint64 // by balance.Reason; 0 is granted
	reports       [sources][results]uint64
	dispatches    [outcomes]uint64
	checks        [checkResults]uint64
	answerTimes   histogram.Histogram           // by answerScale
	foreignLeases [sources][leaseClaims]uint64  // claims on leases of another peer
	chosen        uint64                        // requests whose edge has chosen the server
	localAnswers  uint64                        // immediate answers to callers without a connection
	queueTimes    [waitEnds]histogram.Histogram // by queueScale
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

// Scales of durations: of asks, and of waits in the queue.
var (
	answerScale = histogram.NewScale(time.Microsecond, time.Minute)
	queueScale  = histogram.NewScale(100*time.Microsecond, 5*time.Minute)
)
