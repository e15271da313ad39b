package master

import (
	"context"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Local is an edge in the master's own process: the same questions as over a connection, answered by function
// calls. It is safe for concurrent use.
type Local struct {
	master *Master
	id     balance.EdgeID
}

// Edge returns the in-process edge with that id. No connected edge may have the same.
func (m *Master) Edge(id balance.EdgeID) *Local { return &Local{m, id} }

// Pick asks for a server. Its error is a *balance.Refusal or, if ctx ended first, ctx's cause. It blocks while
// the request waits in the queue or for a verdict.
func (l *Local) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	return l.master.pick(ctx, pool, l.id, req)
}

// TryPick is Pick for callers that must not block: if the request has to wait, it returns at once with a
// function that waits as Pick does and must be called. Otherwise grant is what Pick would have returned.
func (l *Local) TryPick(now balance.Instant, pool string, req *balance.Request, grant *balance.Grant) (func(context.Context) (balance.Grant, error), error) {
	return l.master.tryPick(now, pool, l.id, req, grant)
}

// Done ends a lease. A lease that is not open is ignored.
func (l *Local) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	l.ReturnLease(clock.Now(), pool, lease, o)
}

// ReturnLease is Done for callers that know the time.
func (l *Local) ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	if p := l.master.poolNamed(pool); p != nil {
		p.mu.Lock()
		p.endByEdgeLocked(now, l.id, lease, o, fromLocal)
		p.unlock()
	}
}

// Owes records whether the server of a lease owes a response now. It does not while the edge waits for the
// client.
func (l *Local) Owes(pool string, lease balance.LeaseID, owes bool) {
	if p := l.master.poolNamed(pool); p != nil {
		p.mu.Lock()
		p.core.Owes(clock.Now(), l.id, lease, owes)
		p.unlock()
	}
}

// Report stores what the edge measured of a server's load. An implausible report is dropped and counted.
func (l *Local) Report(pool string, r balance.Report) {
	p := l.master.poolNamed(pool)
	if p == nil {
		l.master.unknownPoolReports.Add(1)
		return
	}
	now := clock.Now()
	p.mu.Lock()
	err := p.storeReportLocked(now, &r, fromLocal)
	p.unlock()
	if err != nil {
		l.master.log.Debug("report", "pool", pool, "edge", l.id, "err", err)
	}
}

// Snapshot returns the current state of the pool; nil if there is none of that name.
func (l *Local) Snapshot(pool string) *balance.Snapshot {
	p := l.master.poolNamed(pool)
	if p == nil {
		return nil
	}
	now := clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Snapshot(now)
}
