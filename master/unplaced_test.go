package master

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// unplaced reads an Unplaced and returns its detail.
func (p *remotePeer) unplaced() string {
	p.t.Helper()
	typ, payload, err := p.next()
	var m wire.Unplaced
	if err != nil || typ != wire.TUnplaced || m.Decode(payload) != nil {
		p.t.Fatalf("got %s, %v, want unplaced", typ, err)
	}
	return m.Detail
}

// An agent registers for a pool that is not named, or has been removed: its connection is kept, what
// it says meanwhile is no fault, and it is asked to register again once the pool is named.
func TestAgentsWaitForTheirPool(t *testing.T) {
	r := start(t, web("a"))
	first := r.dialAgent("s1")
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"}) // so that the pool stays for a while
	e.granted()
	r.reload(Config{})
	first.failed(wire.Unknown)
	var waiting []*remotePeer
	for _, id := range []balance.ServerID{"s1", "s2"} {
		p := r.dial(wire.RoleAgent, string(id))
		p.send(&wire.Register{Pool: "web", Server: spec(id)}, &wire.Reports{Reports: []wire.PoolReport{{Report: balance.Report{Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}}}}})
		if p.unplaced() == "" {
			t.Fatalf("%s is asked to register again, want it told to wait", id)
		}
		p.sync()
		waiting = append(waiting, p)
	}
	gone := r.dial(wire.RoleAgent, "s3")
	gone.send(&wire.Register{Pool: "web", Server: spec("s3")})
	gone.unplaced()
	_ = gone.Close()
	eventually(t, "one that has gone waits no more", func() bool {
		r.peers.mu.Lock()
		defer r.peers.mu.Unlock()
		return len(r.peers.unplaced) == len(waiting)
	})
	r.reload(web("a"))
	for i, id := range []balance.ServerID{"s1", "s2"} {
		if detail := waiting[i].unplaced(); detail != "" {
			t.Fatalf("%s is told %q, want it asked to register again", id, detail)
		}
		waiting[i].send(&wire.Register{Pool: "web", Server: spec(id)})
		waiting[i].sync()
		if v := r.view(id); v == nil || v.State != balance.Up {
			t.Errorf("%s is %+v after it has registered again, want up", id, v)
		}
	}
	if n := r.unknownPoolReports.Load(); n != 0 {
		t.Errorf("%d reports count as strays, want none", n)
	}
}

// Reloads that leave the pool out ask no agent to register again.
func TestAgentsOfOtherPoolsGoOnWaiting(t *testing.T) {
	r := start(t, web("a"))
	p := r.dial(wire.RoleAgent, "s1")
	p.send(&wire.Register{Pool: "later", Server: spec("s1")})
	p.unplaced()
	r.reload(web("a", "b"))
	p.sync() // nothing but the answer to a ping comes
	cfg := web("a")
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "later"})
	r.reload(cfg)
	if detail := p.unplaced(); detail != "" {
		t.Errorf("told %q, want to register again", detail)
	}
}
