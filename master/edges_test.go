package master

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestAskAndDone(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 41, Pool: "web"})
	g := e.granted()
	if g.Seq != 41 || g.Grant.Server != "a" || g.Grant.Address != "a.test:80" || g.Grant.Lease == 0 || g.Grant.Expires != 0 {
		t.Fatalf("got %+v, want server a for 41 without a limit", g)
	}
	if n := r.open(); n != 1 {
		t.Fatalf("%d leases are open, want 1", n)
	}
	e.send(&wire.Done{Pool: "web", Lease: g.Grant.Lease, Outcome: balance.Outcome{Duration: time.Millisecond}})
	e.sync()
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open after done, want 0", n)
	}
}

func TestBatchIsAnsweredInOrder(t *testing.T) {
	cfg := web("a", "b")
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "other", Servers: []balance.ServerSpec{spec("o")}})
	r := start(t, cfg)
	e := r.dialEdge("e1")
	asks := make([]wire.Ask, 500)
	for i := range asks {
		asks[i] = wire.Ask{Seq: uint64(i + 1), Pool: []string{"web", "web", "other"}[i%3]}
	}
	e.ask(asks...)
	seen := make(map[balance.LeaseID]bool)
	for i := range asks {
		g := e.granted()
		if g.Seq != uint64(i+1) || seen[g.Grant.Lease] {
			t.Fatalf("answer %d: %+v, want seq %d and a fresh lease", i, g, i+1)
		}
		seen[g.Grant.Lease] = true
		if other := g.Grant.Server == "o"; other != (i%3 == 2) {
			t.Fatalf("ask %d for %s got server %s", i, asks[i].Pool, g.Grant.Server)
		}
	}
}

func TestReportInAskSteersThatVeryAsk(t *testing.T) {
	for _, busy := range []balance.ServerID{"a", "b"} {
		r := start(t, web("a", "b"))
		e := r.dialEdge("e1")
		e.ask(wire.Ask{Seq: 1, Pool: "web", Reports: []wire.PoolReport{{Pool: "web", Report: balance.Report{Server: busy,
			Metrics: []balance.Metric{{Name: balance.InFlight, Value: 50}}}}}})
		if got := e.granted().Grant.Server; got == busy {
			t.Errorf("%s is busy by the ask's own report, yet was chosen", got)
		}
	}
}

func TestReportsAlone(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.send(&wire.Reports{Reports: []wire.PoolReport{{Pool: "web", Report: balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}}}}})
	e.sync()
	if v := r.view("a"); len(v.Metrics) != 1 || v.Metrics[0].Value != .5 {
		t.Fatalf("got %+v, want cpu_utilization .5", v.Metrics)
	}
}

func TestRefusals(t *testing.T) {
	r := start(t, web())
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: strings.Repeat("x", 200)}, wire.Ask{Seq: 2, Pool: "web"})
	if got := e.refused(); got.Seq != 1 || got.Refusal.Reason != balance.UnknownPool {
		t.Errorf("got %+v, want unknown pool for 1", got)
	}
	if got := e.refused(); got.Seq != 2 || got.Refusal.Reason != balance.NoServer || got.Refusal.RetryAfter == 0 {
		t.Errorf("got %+v, want no server for 2, and when to ask again", got)
	}
}

func TestLostEdgeKeepsItsLeasesForTheGrace(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Grace = 50 * time.Millisecond
	r := start(t, cfg)
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.granted()
	_ = e.Close()
	eventually(t, "the lost edge's lease ends", func() bool { return r.open() == 0 })
}

func TestHoldConfirmsALeaseAfterAReconnection(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Grace = time.Minute
	r := start(t, cfg)
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "web"})
	held, forgotten := e.granted().Grant.Lease, e.granted().Grant.Lease
	again := r.dialEdge("e1") // while the master still believes in the old connection
	e.failed(wire.Taken)
	again.send(&wire.Hold{Pool: "web", Lease: held, Server: "a", Age: time.Second},
		&wire.Hold{Pool: "web", Lease: 0xabcd_000001_000001, Server: "a", Age: time.Second})
	again.sync()
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.core.Open(); n != 3 {
		t.Fatalf("%d leases are open, want 3: held, forgotten and that of another life", n)
	}
	p.core.Expire(clock.Now().Add(time.Hour))
	if n := p.core.Open(); n != 2 || p.core.Done(clock.Now(), forgotten, balance.Outcome{}) {
		t.Fatalf("%d leases are open after the grace, want the 2 that were confirmed", n)
	}
}

// An edge is back before the agents are, even before the pool that they open.
func TestHoldOpensAPool(t *testing.T) {
	r := start(t, Config{ID: "m1", OpenPools: true})
	e := r.dialEdge("e1")
	e.send(&wire.Hold{Pool: "web", Lease: 0xabcd_000001_000001, Server: "a", Age: time.Second})
	e.sync()
	if n := r.open(); n != 1 {
		t.Errorf("%d leases are open, want the one that is held", n)
	}
	a := r.dial(wire.RoleAgent, "a")
	a.send(&wire.Register{Pool: "web", Server: nearbySpec("a")})
	a.sync()
	if v := r.view("a"); v == nil || v.Leases != 1 || v.State != balance.Up {
		t.Errorf("the server that has come is %+v, want it up with the lease", v)
	}
}

func TestGoodbyeEndsLeasesAtOnce(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Grace = time.Hour
	r := start(t, cfg)
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.granted()
	e.send(&wire.Goodbye{})
	e.closed()
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open after the goodbye, want 0", n)
	}
}

func TestCancelAfterTheGrant(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	for i := range uint64(maxRecent + 100) {
		e.ask(wire.Ask{Seq: i + 1, Pool: "web"})
		g := e.granted()
		e.send(&wire.Cancel{Seq: i + 1}, &wire.Cancel{Seq: i + 1}, &wire.Done{Pool: "web", Lease: g.Grant.Lease})
	}
	e.sync()
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open, want 0: all were cancelled", n)
	}
}
