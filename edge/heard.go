package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file tells the master what it must know of links that last: it gives nothing new to a server
// that owes an answer and from which nothing comes.

const (
	signEvery  = 2 * time.Second // how often, at most, the master is told that bytes of a long answer come
	lookFirst  = 2 * time.Second // from when a request was sent until its link is looked at, which few live to see
	lookEvery  = time.Second     // from then on
	quietAfter = time.Second     // without a byte, after which a last one that was not told is
)

// debtor is a Picker that is told whether the server of a lease owes anything.
type debtor interface {
	// Owes tells it. A server owes nothing while the edge waits for the client, to send more or to
	// take what has come, nor on a connection that is both peers' to speak or be silent.
	Owes(pool string, lease balance.LeaseID, owes bool)
}

// heard notes that the server of the link has sent something. Of an answer that takes
// long the master is told now and then. now is the loop's.
func (x *exchange) heard(now balance.Instant) {
	x.lastByte = now
	if now.Sub(x.sign) >= signEvery {
		x.tellSign(0)
	}
}

// tellSign sends a report without figures: the server lives, and no more is known. age is how long
// ago the last byte came.
func (x *exchange) tellSign(age time.Duration) {
	x.sign = x.lastByte
	x.edge.picker.Report(x.route.Pool, balance.Report{Server: x.grant.Server, Age: age})
}

// look tells the master what has changed on a link that lasts: a byte that it was not told of, and whether
// the server owes anything, once nothing has come from it for a while.
func (x *exchange) look(now balance.Instant, owes bool) {
	quiet := now.Sub(x.lastByte)
	if x.lastByte > x.sign && quiet >= quietAfter {
		x.tellSign(quiet)
	}
	if x.excused == !owes || x.grant.Lease == 0 || quiet < quietAfter {
		return
	}
	if d := x.edge.debtor; d != nil {
		d.Owes(x.route.Pool, x.grant.Lease, owes)
		x.excused = !owes
	}
}
