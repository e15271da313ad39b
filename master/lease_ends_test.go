package master

import (
	"context"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// ended returns the next end of a lease that an agent is told of. It must hear them.
func (p *remotePeer) ended() (e wire.Ended) {
	p.t.Helper()
	p.want(wire.TEnded, &e)
	return e
}

// accept has a server accept the next dispatch, and returns its lease.
func (p *remotePeer) accept() balance.LeaseID {
	p.t.Helper()
	d := p.dispatched()
	p.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
	return d.Lease
}

// However a lease ends, the server's agent is told once.
func TestAgentsAreToldOfEnds(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	a.hearsEnds = true
	for i, c := range []struct {
		end  func(balance.LeaseID)
		want balance.Result
	}{
		{func(l balance.LeaseID) { e.send(&wire.Done{Pool: "web", Lease: l}) }, balance.OK},
		{func(l balance.LeaseID) {
			e.send(&wire.Done{Pool: "web", Lease: l, Outcome: balance.Outcome{Result: balance.Canceled}})
			e.send(&wire.Done{Pool: "web", Lease: l}) // ends nothing
		}, balance.Canceled},
		{func(balance.LeaseID) { e.send(&wire.Cancel{Seq: 3}) }, balance.Canceled},
		{func(balance.LeaseID) { e.send(&wire.Goodbye{}) }, balance.Expired},
	} {
		e.ask(wire.Ask{Seq: uint64(i + 1), Pool: "web"})
		lease := a.accept()
		if g := e.granted(); g.Grant.Lease != lease {
			t.Fatalf("granted %s, want %s", g.Grant.Lease, lease)
		}
		c.end(lease)
		if got := a.ended(); got != (wire.Ended{Lease: lease, Result: c.want}) {
			t.Errorf("told %+v, want %s of lease %s", got, c.want, lease)
		}
	}
}

// An agent that has lost a connection asks which leases are over. A master that does not know yet, since edges may still
// bring leases, says nothing.
func TestAgentsAskWhichLeasesAreOver(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	a.hearsEnds = true
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	open := a.accept()
	e.granted()
	p := r.poolNamed("web")
	know := func(from balance.Instant) {
		p.mu.Lock()
		p.core.Await(clock.Now(), from)
		p.mu.Unlock()
	}
	know(clock.Now().Add(time.Hour))
	a.send(&wire.Working{Leases: []balance.LeaseID{open, 77}})
	a.sync() // the pong comes first
	know(clock.Now())
	a.send(&wire.Working{Leases: []balance.LeaseID{open, 77}})
	if got := a.ended(); got != (wire.Ended{Lease: 77, Lost: true}) {
		t.Errorf("told %+v, want that lease 77 is unknown", got)
	}
	a.sync() // nothing of the open lease
}

// A pool that does not dispatch tells agents nothing.
func TestEndsOfPlainPoolsAreNotTold(t *testing.T) {
	cfg := web("s1")
	cfg.Pools[0].Addresses = []string{"*.test"}
	r := start(t, cfg)
	a, e := r.dialAgent("s1"), r.Edge("e1")
	g, err := e.Pick(context.Background(), "web", new(balance.Request))
	if err != nil {
		t.Fatal(err)
	}
	e.Done("web", g.Lease, balance.Outcome{})
	a.hearsEnds = true
	a.sync()
}
