package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file tells the master about long links: it sends no new requests to a server that owes a response and
// is silent.

const (
	lifeReportEvery = 2 * time.Second // how often, at most, the master is told that bytes of a long response come
	quietAfter      = time.Second     // without a byte, after which an unreported last byte is reported
)

// serverSent records that the link's server has sent something. The master is told now and then. now is the
// loop's.
func (x *exchange) serverSent(now balance.Instant) {
	x.lastByte = now
	if now.Sub(x.lifeReportAt) >= lifeReportEvery {
		x.reportAlive(0)
	}
}

// reportAlive sends a report without metrics: it says only that the server is alive. age is how long ago the
// last byte came.
func (x *exchange) reportAlive(age time.Duration) {
	x.lifeReportAt = x.lastByte
	x.deps.picker.Report(x.route.Pool, balance.Report{Server: x.grant.Server, Age: age})
}

// reportProgress tells the master what has changed on a long link: an unreported byte, and whether the server
// owes a response, once it has been silent for a while.
func (x *exchange) reportProgress(now balance.Instant, owes bool) {
	quiet := now.Sub(x.lastByte)
	if x.lastByte > x.lifeReportAt && quiet >= quietAfter {
		x.reportAlive(quiet)
	}
	if x.owesNothing == !owes || x.grant.Lease == 0 || quiet < quietAfter {
		return
	}
	if d := x.deps.owes; d != nil {
		d.Owes(x.route.Pool, x.grant.Lease, owes)
		x.owesNothing = !owes
	}
}
