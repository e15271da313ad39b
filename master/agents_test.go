package master

import (
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestAgentBringsItsServer(t *testing.T) {
	r := start(t, web())
	a := r.dialAgent("s1")
	if v := r.view("s1"); v == nil || v.State != balance.Up || v.Fixed || v.Spec.Address != "s1.test:80" {
		t.Fatalf("got %+v, want s1 up", v)
	}
	changed := spec("s1")
	changed.Slots, changed.Labels = 8, []balance.Label{{Key: "zone", Value: "b"}}
	a.send(&wire.Register{Pool: "web", Server: changed}, &wire.Reports{Reports: []wire.PoolReport{
		{Pool: "web", Report: balance.Report{Server: "s1", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .25}}}}}})
	a.sync()
	a.send(make(pings, 50)) // overwrites the read buffer that the words came in
	for range 50 {
		a.want(wire.TPong, new(wire.Pong))
	}
	v := r.view("s1")
	if v.Slots != 8 || v.Spec.Labels[0].Value != "b" || len(v.Metrics) != 1 || v.Metrics[0].Name != balance.CPUUtilization || v.Metrics[0].Value != .25 {
		t.Fatalf("got %+v, want 8 slots, zone b and the report", v)
	}
	a.send(&wire.Goodbye{})
	a.closed()
	if v := r.view("s1"); v != nil {
		t.Fatalf("got %+v after the goodbye, want nothing", v)
	}
}

type pings []struct{}

func (p pings) Append(dst []byte) []byte {
	for range p {
		dst = (&wire.Ping{Seq: 0x5a5a5a5a5a}).Append(dst)
	}
	return dst
}

func TestAgentEndsALease(t *testing.T) {
	r := start(t, web())
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Link: balance.LinkRedirect}})
	g := e.granted()
	if g.Grant.Expires == 0 {
		t.Fatal("a redirected lease has no limit")
	}
	a.send(&wire.Done{Pool: "web", Lease: g.Grant.Lease, Tag: g.Grant.Tag})
	a.sync()
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open, want 0", n)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	r := start(t, web())
	first := r.dialAgent("s1")
	second := r.dial(wire.RoleAgent, "s1")
	second.send(&wire.Register{Pool: "web", Server: balance.ServerSpec{ID: "s1", Address: "usurper.test:1"}})
	f := second.failed(wire.Taken)
	for _, want := range []string{"s1", "web", first.LocalAddr().String(), "last message"} {
		if !strings.Contains(f.Detail, want) {
			t.Errorf("detail %q does not tell %q", f.Detail, want)
		}
	}
	first.sync()
	if v := r.view("s1"); v.Spec.Address != "s1.test:80" {
		t.Errorf("address %s, want the first agent's", v.Spec.Address)
	}
}

func TestAgentLostKeepsServerAndPlaceIsFree(t *testing.T) {
	r := start(t, web())
	first := r.dialAgent("s1")
	_ = first.Close()
	second := r.dialAgent("s1") // at once
	if v := r.view("s1"); v == nil || v.State != balance.Up {
		t.Fatalf("got %+v, want s1 up", v)
	}
	_ = second.Close()
	eventually(t, "the agent's place is free", func() bool { return r.peers.agentOf("web", "s1") == nil })
	if v := r.view("s1"); v == nil || v.State != balance.Up {
		t.Fatalf("got %+v, want s1 up without an agent", v)
	}
}

func TestSilentAgentLosesItsPlace(t *testing.T) {
	r := start(t, web())
	first := r.dialAgent("s1")
	r.peers.agentOf("web", "s1").lastReceived.Add(-int64(takeoverSilence))
	r.dialAgent("s1")
	first.failed(wire.Taken)
}

func TestAgentSpeaksOnlyForItsOwn(t *testing.T) {
	r := start(t, web("other"))
	a := r.dialAgent("s1")
	load := []balance.Metric{{Name: balance.InFlight, Value: 9}}
	a.send(&wire.Reports{Reports: []wire.PoolReport{
		{Pool: "web", Report: balance.Report{Server: "other", Metrics: load}},
		{Pool: "elsewhere", Report: balance.Report{Server: "s1", Metrics: load}},
		{Pool: "web", Report: balance.Report{Server: "s1", Metrics: load}}}})
	a.sync()
	if v := r.view("other"); len(v.Metrics) != 0 {
		t.Errorf("another agent's report on it was kept: %+v", v.Metrics)
	}
	if v := r.view("s1"); len(v.Metrics) != 1 {
		t.Errorf("its own report was not kept: %+v", v.Metrics)
	}
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.stats.reports[fromAgent]; got != [results]uint64{reportKept: 1, reportForeign: 2} {
		t.Errorf("counted %v, want 1 kept, 2 foreign", got)
	}
}

func TestImpossibleRegistrations(t *testing.T) {
	r := start(t, web())
	for _, c := range []struct {
		name string
		reg  wire.Register
		code wire.Code
	}{
		{"a name that no pool can have", wire.Register{Pool: "no/where", Server: spec("s1")}, wire.Unknown},
		{"bad address", wire.Register{Pool: "web", Server: balance.ServerSpec{ID: "s1", Address: "s1"}}, wire.BadRegister},
		{"another's id", wire.Register{Pool: "web", Server: spec("s2")}, wire.BadRegister},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.dial(wire.RoleAgent, "s1")
			a.send(&c.reg)
			a.failed(c.code)
		})
	}
	a := r.dialAgent("s1") // no place was left taken
	a.send(&wire.Register{Pool: "nowhere", Server: spec("s1")})
	a.failed(wire.BadRegister)
}

func TestOpenPools(t *testing.T) {
	r := start(t, Config{ID: "m1", OpenPools: true})
	a := r.dial(wire.RoleAgent, "s1")
	a.send(&wire.Register{Pool: "fresh", Server: nearbySpec("s1")})
	a.sync()
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "fresh"})
	if g := e.granted(); g.Grant.Server != "s1" {
		t.Fatalf("got %+v, want s1", g)
	}
	odd := r.dial(wire.RoleAgent, "s2")
	odd.send(&wire.Register{Pool: "not/a/name", Server: nearbySpec("s2")})
	odd.failed(wire.Unknown)
}

// Pools that peers open do not stay for ever: one is removed when nothing has been in it for a while.
func TestPoolsThatPeersOpenedAreRemoved(t *testing.T) {
	r := start(t, Config{ID: "m1", OpenPools: true})
	e, a := r.dialEdge("e1"), r.dial(wire.RoleAgent, "s1")
	a.send(&wire.Register{Pool: "used", Server: nearbySpec("s1")})
	a.sync()
	e.send(&wire.Hold{Pool: "odd", Lease: 0xabcd_000001_000001, Server: "a"}, &wire.Done{Pool: "odd", Lease: 0xabcd_000001_000001})
	e.sync()
	wait := func() {
		for _, p := range r.pools.Load().list {
			p.mu.Lock()
			if p.emptySince != 0 {
				p.emptySince = p.emptySince.Add(-unusedPoolTime)
			}
			p.mu.Unlock()
		}
		r.maintain()
	}
	r.maintain()
	if r.poolNamed("odd") == nil || r.poolNamed("used") == nil {
		t.Fatal("a pool was removed at once")
	}
	wait()
	if r.poolNamed("odd") != nil {
		t.Error("a pool in which nothing is stays")
	}
	if r.poolNamed("used") == nil {
		t.Error("a pool with a server was removed")
	}
	a.send(&wire.Goodbye{})
	a.closed()
	eventually(t, "the pool is empty", func() bool { r.maintain(); return r.poolNamed("used") == nil || r.poolNamed("used").isEmpty() })
	wait()
	if r.poolNamed("used") != nil {
		t.Error("a pool that its last server has left stays")
	}
	again := r.dial(wire.RoleAgent, "s1")
	again.send(&wire.Register{Pool: "used", Server: nearbySpec("s1")})
	again.sync()
	e.ask(wire.Ask{Seq: 1, Pool: "used"})
	if g := e.granted(); g.Grant.Server != "s1" {
		t.Errorf("got %+v from the pool that was opened again, want s1", g)
	}
}

// isEmpty reports whether nothing is in the pool.
func (p *pool) isEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.emptySince != 0
}

func TestDrainedServerStaysDrainedWhenItsAgentReturns(t *testing.T) {
	r := start(t, web())
	a := r.dialAgent("s1")
	p := r.poolNamed("web")
	p.mu.Lock()
	p.storeOverrideLocked(1, "s1", p.newOverrideLocked(1, "s1", balance.Override{On: true}))
	p.mu.Unlock()
	_ = a.Close()
	eventually(t, "the agent's place is free", func() bool { return r.peers.agentOf("web", "s1") == nil })
	r.dialAgent("s1")
	if v := r.view("s1"); v.State != balance.Draining {
		t.Fatalf("s1 is %s, want draining", v.State)
	}
}

// A pool that an agent opens keeps its name, whatever the agent says afterwards.
func TestAnOpenedPoolKeepsItsName(t *testing.T) {
	r := start(t, Config{ID: "m1", OpenPools: true})
	c := r.dial(wire.RoleAgent, "s1")
	c.send(&wire.Register{Pool: "web", Server: nearbySpec("s1")}, &wire.Register{Pool: "web", Server: nearbySpec("s1")})
	c.sync()
	for range 100 {
		c.send(&wire.Reports{Reports: []wire.PoolReport{{Pool: "web", Report: balance.Report{Server: "s1", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}}}}})
	}
	eventually(t, "the reports are in", func() bool { return len(r.view("s1").Metrics) == 1 })
	if got := r.poolNamed("web").name; got != "web" {
		t.Errorf("the pool is called %q now, want web", got)
	}
}
