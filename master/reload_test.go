package master

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func (r *rig) reload(cfg Config) {
	r.t.Helper()
	if err := r.Reload(cfg); err != nil {
		r.t.Fatal(err)
	}
}

func TestReloadServers(t *testing.T) {
	r := start(t, web("kept", "removed", "changed", "left"))
	p := r.poolNamed("web")
	p.mu.Lock()
	p.removeServerLocked(1, "left")
	p.mu.Unlock()
	cfg := web("kept", "changed", "added", "left")
	cfg.Pools[0].Servers[1].Slots = 4
	r.reload(cfg)
	if v := r.view("removed"); v != nil {
		t.Errorf("removed: got %+v, want nothing: it was idle", v)
	}
	for id, want := range map[balance.ServerID]balance.State{"kept": balance.Up, "changed": balance.Up, "added": balance.Up, "left": balance.Gone} {
		if v := r.view(id); v == nil || v.State != want {
			t.Errorf("%s: got %+v, want %s", id, v, want)
		}
	}
	if got := r.view("changed").Slots; got != 4 {
		t.Errorf("changed has %v slots, want 4", got)
	}
	r.reload(web("removed"))
	if v := r.view("removed"); v.State != balance.Up {
		t.Errorf("removed is %s after its return, want up", v.State)
	}
}

func TestReloadRemovesAPoolWithItsLastLease(t *testing.T) {
	r := start(t, web("a"))
	agent, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	g := e.granted()
	r.reload(Config{})
	agent.failed(wire.Unknown)
	e.ask(wire.Ask{Seq: 2, Pool: "web"})
	if got := e.refused().Refusal.Reason; got != balance.UnknownPool {
		t.Errorf("got %s, want unknown pool", got)
	}
	if n := r.open(); n != 1 {
		t.Fatalf("%d leases are open, want 1", n)
	}
	e.send(&wire.Done{Pool: "web", Lease: g.Grant.Lease})
	eventually(t, "the pool goes with its last lease", func() bool { return r.poolNamed("web") == nil })
	r.reload(web("a"))
	e.ask(wire.Ask{Seq: 3, Pool: "web"})
	if g := e.granted(); g.Grant.Server != "a" {
		t.Errorf("got %+v, want a of the new pool", g)
	}
}

func TestReloadBringsARemovedPoolBack(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.granted()
	r.reload(Config{})
	r.reload(web("a"))
	e.ask(wire.Ask{Seq: 2, Pool: "web"})
	e.granted()
	if n := r.open(); n != 2 {
		t.Errorf("%d leases are open, want 2", n)
	}
}

func TestReloadTimes(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Grace, cfg.Pools[0].LeaseTime = time.Hour, time.Hour
	r := start(t, cfg)
	cfg.Pools[0].Grace, cfg.Pools[0].LeaseTime = time.Millisecond, time.Second
	r.reload(cfg)
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "web", Request: balance.Request{Link: balance.LinkRedirect}})
	e.granted()
	if g := e.granted(); g.Grant.Expires == 0 {
		t.Errorf("got %+v, want a limit", g)
	}
	_ = e.Close()
	eventually(t, "both leases end", func() bool { return r.open() == 0 })
}

func TestReloadChangesThePolicyOfALivingPool(t *testing.T) {
	r := start(t, web("a", "b"))
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.granted()
	cfg := web("a", "b")
	cfg.Pools[0].Policy = "round-robin"
	r.reload(cfg)
	counts := make(map[balance.ServerID]int)
	for seq := range uint64(10) {
		e.ask(wire.Ask{Seq: 2 + seq, Pool: "web"})
		counts[e.granted().Grant.Server]++
	}
	if counts["a"] != 5 || counts["b"] != 5 || r.open() != 11 {
		t.Errorf("granted %v with %d leases open, want 5 each and 11", counts, r.open())
	}
}

func TestServerWithAnAgentOutlivesItsLineInTheFile(t *testing.T) {
	cfg := web("s1", "s2")
	cfg.Pools[0].Servers[0].Slots = 4
	r := start(t, cfg)
	a := r.dialAgent("s1")
	r.reload(web("s2"))
	a.failed(wire.GoingAway)
	if v := r.view("s1"); v != nil {
		t.Fatalf("got %+v, want nothing until its agent is back", v)
	}
	_ = a.Close()
	r.dialAgent("s1")
	if v := r.view("s1"); v == nil || v.State != balance.Up || v.Fixed || v.Known {
		t.Errorf("got %+v, want s1 by its agent's word alone", v)
	}
}

func TestBadConfigLeavesTheOldOne(t *testing.T) {
	r := start(t, web("a"))
	for name, c := range map[string]struct {
		spoil func(*Config)
		tell  string
	}{
		"name":        {func(c *Config) { c.Pools[0].Name = "a/b" }, "pools[0].name"},
		"twice":       {func(c *Config) { c.Pools = append(c.Pools, c.Pools[0]) }, "pools[1].name"},
		"policy":      {func(c *Config) { c.Pools[0].Policy = "best" }, "pools[0].policy"},
		"time":        {func(c *Config) { c.Pools[0].Grace = -1 }, "pools[0].grace"},
		"address":     {func(c *Config) { c.Pools[0].Servers[0].Address = "x" }, "pools[0].servers[0].address"},
		"queue":       {func(c *Config) { c.Pools[0].QueueSize = longestQueue + 1 }, "pools[0].queue.size"},
		"wait":        {func(c *Config) { c.Pools[0].QueueWait = -1 }, "pools[0].queue.wait"},
		"decisions":   {func(c *Config) { c.Pools[0].Decisions = -2 }, "pools[0].decisions"},
		"hit":         {func(c *Config) { c.Pools[0].Affinity.Hit = 1.5 }, "pools[0].affinity.hit"},
		"keys":        {func(c *Config) { c.Pools[0].Affinity.Keys = -1 }, "pools[0].affinity.keys"},
		"distance":    {func(c *Config) { c.Pools[0].Distances = map[string]map[string]float64{"eu": {"us": math.NaN()}} }, "pools[0].distances.eu.us"},
		"utilization": {func(c *Config) { c.Pools[0].Utilization = "cpu +" }, "pools[0].utilization"},
		"id twice":    {func(c *Config) { c.Pools[0].Servers = append(c.Pools[0].Servers, spec("b")) }, "pools[0].servers[1].id"},
		"master id":   {func(c *Config) { c.ID = strings.Repeat("x", 256) }, "id:"},
	} {
		cfg := web("b")
		c.spoil(&cfg)
		if err := r.Reload(cfg); err == nil || !strings.Contains(err.Error(), c.tell) {
			t.Errorf("%s: got %v, want %s", name, err, c.tell)
		}
		if len(r.pools.Load().list) != 1 || r.view("a").State != balance.Up || r.view("b") != nil {
			t.Errorf("%s: the old config is not left", name)
		}
	}
}

func TestProblemsAreToldAtOnce(t *testing.T) {
	_, err := New(Config{Pools: []PoolConfig{{Name: "", Policy: "x", Grace: -1}}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v, want three problems", err)
	}
}

func TestLeasesOfAllPoolsDiffer(t *testing.T) {
	var cfg Config
	for range 300 {
		cfg.Pools = append(cfg.Pools, PoolConfig{Name: "p" + strings.Repeat("x", len(cfg.Pools)%100) + string(rune('a'+len(cfg.Pools)/100)), Servers: []balance.ServerSpec{spec("s")}})
	}
	m := newMaster(t, cfg)
	seen := make(map[balance.LeaseID]bool)
	for _, p := range cfg.Pools {
		g, err := m.Edge("e").Pick(context.Background(), p.Name, &balance.Request{})
		if err != nil || seen[g.Lease] {
			t.Fatalf("pool %s: %+v, %v, want a lease that no other pool has", p.Name, g, err)
		}
		seen[g.Lease] = true
	}
}
