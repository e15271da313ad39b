package master

import (
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// shop is a master with certificates and the pools web and pay.
func (h *house) shop(j *journal, change func(*Config)) *rig {
	h.t.Helper()
	cfg := web("a")
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "pay", Servers: []balance.ServerSpec{spec("p")}})
	cfg.Trust, cfg.Log = h.good(trust.Master, "m1"), j.log()
	if change != nil {
		change(&cfg)
	}
	return start(h.t, cfg)
}

// agentOf runs an agent of server r1 with a certificate that names pools.
func (h *house) agentOf(at, pool, address string, j *journal, pools ...string) *client.Agent {
	h.t.Helper()
	h.bounds = trust.Bounds{Pools: pools}
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{at}, Pool: pool, Server: balance.ServerSpec{ID: "r1", Address: address}, Trust: h.good(trust.Agent, "r1"), Log: j.log()})
	if err != nil {
		h.t.Fatal(err)
	}
	runAll(h.t, a.Run)
	return a
}

func TestAnAgentJoinsOnlyItsPoolsFromItsPlace(t *testing.T) {
	for _, c := range []struct {
		what, pool, address string
		pools               []string // of the certificate
		change              func(*Config)
		reason, says        string // empty: it is taken
	}{
		{"its pool", "web", "127.0.0.1:9", []string{"web"}, nil, "", ""},
		{"another pool", "pay", "127.0.0.1:9", []string{"web"}, nil, "wrong-pool", "for pool web, which is not pool pay"},
		{"no pool on the certificate", "pay", "127.0.0.1:9", nil, nil, "wrong-pool", "nor does pools.pay.agents name"},
		{"no pool on the certificate, but in the file", "pay", "127.0.0.1:9", nil, func(c *Config) { c.Pools[1].Agents = []string{"r*"} }, "", ""},
		{"the file takes others", "pay", "127.0.0.1:9", []string{"*"}, func(c *Config) { c.Pools[1].Agents = []string{"p*"} }, "wrong-pool", "is not among them"},
		{"another's address", "web", "192.0.2.1:80", []string{"web"}, nil, "wrong-address", "list that in pools.web.addresses, such as 192.0.2.1"},
		{"an address of the pool", "web", "192.0.2.1:80", []string{"web"}, func(c *Config) { c.Pools[0].Addresses = []string{"192.0.2.0/24"} }, "", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			var here, there journal
			r := h.shop(&here, c.change)
			a := h.agentOf(r.addr, c.pool, c.address, &there, c.pools...)
			in := func() bool { return r.peers.agentOf(c.pool, "r1") != nil }
			if c.reason == "" {
				eventually(t, "the agent is in", in)
				return
			}
			eventually(t, "the agent is told", func() bool { return counted(a.Refused())["by-peer"] > 0 })
			eventually(t, "both logs", func() bool {
				return strings.Contains(here.String(), c.says) && strings.Contains(there.String(), c.says)
			})
			if got := counted(&r.refusals); got[c.reason] == 0 || len(got) != 1 {
				t.Errorf("the master counted %v, want %s alone", got, c.reason)
			}
			if in() || r.poolNamed(c.pool).viewOf("r1") {
				t.Error("its server is in the pool")
			}
		})
	}
}

// viewOf reports whether the pool has a server of that id.
func (p *pool) viewOf(id balance.ServerID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.core.Views(1) {
		if v.Spec.ID == id && v.State != balance.Gone {
			return true
		}
	}
	return false
}

func TestAnEdgeAsksOnlyInItsPools(t *testing.T) {
	h := newHouse(t)
	var here journal
	r := h.shop(&here, func(c *Config) { c.Pools[1].Edges = []string{"e1"} })
	edge := func(name string, pools ...string) *client.Client {
		h.bounds = trust.Bounds{Pools: pools}
		c, err := client.New(client.Config{Masters: []string{r.addr}, ID: balance.EdgeID(name), Pools: []string{"web", "pay"}, Trust: h.good(trust.Edge, strings.TrimSuffix(name, "~1"))})
		if err != nil {
			t.Fatal(err)
		}
		runAll(t, c.Run)
		eventually(t, name+" is connected", c.Connected)
		return c
	}
	may := func(c *client.Client, pool string, want bool) {
		t.Helper()
		g, err := c.Pick(t.Context(), pool, &balance.Request{})
		if (err == nil) != want {
			t.Errorf("pool %s: got %v", pool, err)
		}
		if err == nil {
			c.Done(pool, g.Lease, balance.Outcome{})
		} else if !strings.Contains(err.Error(), "may not use pool "+pool) {
			t.Errorf("the edge is told %v", err)
		}
		if !want && c.Snapshot(pool) != nil {
			t.Errorf("pool %s: the edge was told of its servers", pool)
		}
	}
	listed, heir, other, bound := edge("e1"), edge("e1~1"), edge("e2"), edge("e1", "web")
	_ = listed // its place is the bound one's by now
	may(heir, "pay", true)
	may(heir, "web", true)
	may(other, "pay", false)
	may(other, "web", true)
	may(bound, "pay", false)
	may(bound, "web", true)
	if got := counted(&r.refusals); got["wrong-pool"] == 0 || len(got) != 1 {
		t.Errorf("counted %v, want wrong-pool alone", got)
	}
}

// A reload that takes an agent's pool away from it parts from it and from its server.
func TestAReloadJudgesAgentsAnew(t *testing.T) {
	h := newHouse(t)
	var here, there journal
	r := h.shop(&here, nil)
	h.agentOf(r.addr, "web", "127.0.0.1:9", &there, "web")
	in := func() bool { return r.peers.agentOf("web", "r1") != nil }
	eventually(t, "the agent is in", in)
	next := web("a")
	next.Pools = append(next.Pools, PoolConfig{Name: "pay"})
	next.Pools[0].Agents = []string{"others"}
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its server has left", func() bool { return !in() && !r.poolNamed("web").viewOf("r1") })
	next.Pools[0].Agents = nil
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is back", in)
}

// A peer that may not use a pool does not open it.
func TestPeersOpenNoPoolsThatTheyMayNotUse(t *testing.T) {
	h := newHouse(t)
	var here journal
	r := h.shop(&here, func(c *Config) { c.OpenPools = true })
	h.bounds = trust.Bounds{Pools: []string{"web", "own"}}
	edge := r.dialBy(h, wire.RoleEdge, "e2")
	edge.send(&wire.Hold{Pool: "others", Lease: 0xabcd_000001_000001, Server: "a"}, &wire.Hold{Pool: "own", Lease: 0xabcd_000001_000002, Server: "a"})
	edge.sync()
	agent := r.dialBy(h, wire.RoleAgent, "s1")
	agent.send(&wire.Register{Pool: "theirs", Server: nearbySpec("s1")})
	agent.failed(wire.Forbidden)
	for name, want := range map[string]bool{"others": false, "theirs": false, "own": true} {
		if (r.poolNamed(name) != nil) != want {
			t.Errorf("pool %s: there is one: %v, want %v", name, !want, want)
		}
	}
}
