package master

import (
	"context"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Local is an edge in the master's own process: the same questions as over a
// connection, answered by a function call. It is safe for concurrent use.
type Local struct {
	master *Master
	id     balance.EdgeID
}

// Edge returns the in-process edge of that id. No connected edge may have the same.
func (m *Master) Edge(id balance.EdgeID) *Local { return &Local{m, id} }

// Pick asks for a server. Its error is a *balance.Refusal or, when ctx ended first,
// ctx's cause. It blocks while the request is in the queue, and while a server is told.
func (l *Local) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	return l.master.pick(ctx, pool, l.id, req)
}

// Prompt is Pick for those who must not block: if the request is in the queue, or a
// server is told, it returns at once with a function that waits as Pick does, and must
// be called. Else grant is what Pick would have returned. It is told what time it is.
func (l *Local) Prompt(now balance.Instant, pool string, req *balance.Request, grant *balance.Grant) (func(context.Context) (balance.Grant, error), error) {
	return l.master.prompt(now, pool, l.id, req, grant)
}

// Done ends a lease. One that is not open is ignored.
func (l *Local) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	l.GiveBack(clock.Now(), pool, lease, o)
}

// GiveBack is Done for those who know what time it is.
func (l *Local) GiveBack(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	if p := l.master.pool(pool); p != nil {
		p.mu.Lock()
		p.done(now, l.id, lease, o, fromLocal)
		p.unlock()
	}
}

// Owes reports whether the server of a lease owes anything now. It does not while the edge waits for the client.
func (l *Local) Owes(pool string, lease balance.LeaseID, owes bool) {
	if p := l.master.pool(pool); p != nil {
		p.mu.Lock()
		p.core.Owes(clock.Now(), l.id, lease, owes)
		p.unlock()
	}
}

// Report tells what the edge learnt of a server's load. What cannot be believed is
// dropped and counted.
func (l *Local) Report(pool string, r balance.Report) {
	p := l.master.pool(pool)
	if p == nil {
		l.master.strayReports.Add(1)
		return
	}
	now := clock.Now()
	p.mu.Lock()
	err := p.report(now, &r, fromLocal)
	p.unlock()
	if err != nil {
		l.master.log.Debug("report", "pool", pool, "edge", l.id, "err", err)
	}
}

// Snapshot returns the pool as it is now; nil if there is none of that name.
func (l *Local) Snapshot(pool string) *balance.Snapshot {
	p := l.master.pool(pool)
	if p == nil {
		return nil
	}
	now := clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Snapshot(now)
}
