package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file tells the master what it must know of links that last: it gives nothing new to a server
// that owes an answer and from which nothing comes.

const (
	lifeReportEvery = 2 * time.Second // how often, at most, the master is told that bytes of a long answer come
	progressFirst   = 2 * time.Second // from when a request was sent until its link is looked at, which few live to see
	progressEvery   = time.Second     // from then on
	quietAfter      = time.Second     // without a byte, after which a last one that was not told is
)

// owesPicker is a Picker that is told whether the server of a lease owes anything.
type owesPicker interface {
	// Owes tells it. A server owes nothing while the edge waits for the client, to send more or to
	// take what has come, nor on a connection that is both peers' to speak or be silent.
	Owes(pool string, lease balance.LeaseID, owes bool)
}

// serverSent notes that the server of the link has sent something. Of an answer that takes
// long the master is told now and then. now is the loop's.
func (x *exchange) serverSent(now balance.Instant) {
	x.lastByte = now
	if now.Sub(x.lifeReportAt) >= lifeReportEvery {
		x.reportAlive(0)
	}
}

// reportAlive sends a report without figures: the server lives, and no more is known. age is how long
// ago the last byte came.
func (x *exchange) reportAlive(age time.Duration) {
	x.lifeReportAt = x.lastByte
	x.edge.picker.Report(x.route.Pool, balance.Report{Server: x.grant.Server, Age: age})
}

// reportProgress tells the master what has changed on a link that lasts: a byte that it was not told of, and whether
// the server owes anything, once nothing has come from it for a while.
func (x *exchange) reportProgress(now balance.Instant, owes bool) {
	quiet := now.Sub(x.lastByte)
	if x.lastByte > x.lifeReportAt && quiet >= quietAfter {
		x.reportAlive(quiet)
	}
	if x.owesNothing == !owes || x.grant.Lease == 0 || quiet < quietAfter {
		return
	}
	if d := x.edge.owes; d != nil {
		d.Owes(x.route.Pool, x.grant.Lease, owes)
		x.owesNothing = !owes
	}
}
