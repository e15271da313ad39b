package exchange

import (
	"context"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Picker is what the edge asks for servers. All methods are safe for concurrent use.
//
// Pick's error is a *balance.Refusal, or its context's; any other means that no master answers. Done and
// Report do not block.
type Picker interface {
	Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error)
	Done(pool string, lease balance.LeaseID, o balance.Outcome)
	Report(pool string, r balance.Report)
}

// SnapshotPicker is a Picker that also knows what to choose from when no master answers: nil if it does not
// know yet.
type SnapshotPicker interface {
	Snapshot(pool string) *balance.Snapshot
}

// leaseReturner is a Picker to which loops, which know the time, return leases; for others Done is called.
type leaseReturner interface {
	ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome)
}

// owesPicker is a Picker that is told whether the server of a lease owes a response.
type owesPicker interface {
	// Owes tells it. A server owes nothing while the edge waits for the client to send or to read, nor on a
	// connection on which either peer may be silent.
	Owes(pool string, lease balance.LeaseID, owes bool)
}

// localPicker is a SnapshotPicker whose masters can be told of a server that the edge has chosen itself.
type localPicker interface {
	SnapshotPicker
	// LocalFrom returns the trip to the pool's master from which the edge is to choose; zero: it is to ask.
	LocalFrom(pool string) time.Duration
	// Chosen tells the master that a request has been sent to a server since an instant, and returns its lease.
	Chosen(pool string, server balance.ServerID, since balance.Instant, req *balance.Request) (balance.LeaseID, error)
	// HoldFor opens a lease of which the pool's next master is told; zero: it could not.
	HoldFor(pool string, server balance.ServerID, since balance.Instant) balance.LeaseID
}

// poolAdder is a Picker that has to know of a pool before it is asked for.
type poolAdder interface {
	AddPool(pool string)
}
