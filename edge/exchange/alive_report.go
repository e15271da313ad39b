package exchange

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file tells the master about long links: it sends no new requests to a server that owes a response and
// is silent.

const (
	lifeReportEvery = 2 * time.Second // how often, at most, the master is told that bytes of a long response come
	QuietAfter      = time.Second     // without a byte, after which an unreported last byte is reported
)

// ServerSent records that the link's server has sent something. The master is told now and then. now is the
// loop's.
func (x *Exchange) ServerSent(now balance.Instant) {
	x.lastByte = now
	if now.Sub(x.lifeReportAt) >= lifeReportEvery {
		x.reportAlive(0)
	}
}

// reportAlive sends a report without metrics: it says only that the server is alive. age is how long ago the
// last byte came.
func (x *Exchange) reportAlive(age time.Duration) {
	x.lifeReportAt = x.lastByte
	x.deps.Picker.Report(x.AskedPool(), balance.Report{Server: x.Grant.Server, Age: age})
}

// ReportProgress tells the master what has changed on a long link: an unreported byte, and whether the server
// owes a response, once it has been silent for a while.
func (x *Exchange) ReportProgress(now balance.Instant, owes bool) {
	quiet := now.Sub(x.lastByte)
	if x.lastByte > x.lifeReportAt && quiet >= QuietAfter {
		x.reportAlive(quiet)
	}
	if x.owesNothing == !owes || x.Grant.Lease == 0 || quiet < QuietAfter {
		return
	}
	if d := x.deps.owes; d != nil {
		d.Owes(x.AskedPool(), x.Grant.Lease, owes)
		x.owesNothing = !owes
	}
}
