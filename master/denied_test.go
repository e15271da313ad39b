package master

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// deny writes a list of the denied.
func deny(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A peer that a reload denies is parted from, and an agent's server leaves with it.
func TestTheDeniedAreJudgedAnewOnReload(t *testing.T) {
	h := newHouse(t)
	var here, there journal
	list := filepath.Join(t.TempDir(), "denied")
	deny(t, list, "# none yet\n")
	files := h.issue(h.ours, trust.Master, "m1", time.Now(), trust.DefaultLife)
	files.Denied = list
	k := h.keeper(files)
	r := h.shop(&here, func(c *Config) { c.Trust = k })
	a := h.agentOf(r.addr, "web", "127.0.0.1:9", &there, "web")
	e := connect(t, trust.Edge, r.addr, nil, h.good(trust.Edge, "e1"), nil)
	eventually(t, "both are in", func() bool { return r.peers.agentOf("web", "r1") != nil && e.Connected() })
	deny(t, list, "agent r1 # its machine was stolen\n")
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent and its server have left", func() bool { return r.peers.agentOf("web", "r1") == nil && !r.poolNamed("web").viewOf("r1") })
	eventually(t, "both sides count it", func() bool {
		return counted(&r.refusals)["denied"] > 0 && counted(a.Refused())["by-peer"] > 0
	})
	if !e.Connected() || len(counted(e.Refused())) > 0 {
		t.Error("the edge, which is not denied, was parted from")
	}
	deny(t, list, "nonsense\n")
	if err := k.Reload(); err == nil {
		t.Error("a list that makes no sense was taken")
	}
	deny(t, list, "edge e1\n")
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge has left and the agent is back", func() bool { return !e.Connected() && r.peers.agentOf("web", "r1") != nil })
}

// A denied edge's leases end with its place, whatever time it has said that they have.
func TestADeniedEdgesLeasesEnd(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(map[bool]string{false: "connected", true: "lost"}[lost], func(t *testing.T) { testADeniedEdgesLeasesEnd(t, lost) })
	}
}

func testADeniedEdgesLeasesEnd(t *testing.T, lost bool) {
	h := newHouse(t)
	var here journal
	list := filepath.Join(t.TempDir(), "denied")
	deny(t, list, "")
	files := h.issue(h.ours, trust.Master, "m1", time.Now(), trust.DefaultLife)
	files.Denied = list
	k := h.keeper(files)
	cfg := web("a")
	cfg.Pools[0].LeaseTime, cfg.Pools[0].Grace = time.Hour, time.Hour
	cfg.Trust, cfg.Log = k, here.log()
	r := start(t, cfg)
	e := r.dialBy(h, wire.RoleEdge, "e2")
	const long = 29 * 24 * time.Hour
	e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Hold: long}}, wire.Ask{Seq: 2, Pool: "web"})
	e.granted()
	e.granted()
	for i := range balance.LeaseID(10) {
		e.send(&wire.Hold{Pool: "web", Lease: 1<<40 | i, Server: "a", Left: long})
	}
	e.sync()
	if n := r.open(); n != 12 {
		t.Fatalf("%d leases are open, want 12", n)
	}
	if lost {
		_ = e.Close()
		eventually(t, "its connection is gone", func() bool { return strings.Contains(here.String(), "edge disconnected") })
	}
	deny(t, list, "edge e2\n")
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its leases end", func() bool { return r.open() == 0 })
}

// An edge does not stay with a master that is denied.
func TestADeniedMasterIsLeft(t *testing.T) {
	h := newHouse(t)
	var here journal
	r := h.shop(&here, nil)
	list := filepath.Join(t.TempDir(), "denied")
	deny(t, list, "")
	files := h.issue(h.ours, trust.Edge, "e1", time.Now(), trust.DefaultLife)
	files.Denied = list
	k := h.keeper(files)
	e := connect(t, trust.Edge, r.addr, nil, k, nil)
	eventually(t, "the edge is in", e.Connected)
	deny(t, list, "master m1")
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leaves and counts it", func() bool { return !e.Connected() && counted(e.Refused())["denied"] > 0 })
}

// A connection ends with the certificate of its peer, and an agent's server stays: its agent is late, and
// no stranger.
func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	t.Parallel() // it is waiting
	h := newHouse(t)
	var here, there journal
	r := h.shop(&here, nil)
	h.bounds = trust.Bounds{Pools: []string{"web"}}
	k := h.keeper(h.issue(h.ours, trust.Agent, "r1", time.Now(), 8*time.Second)) // in which it must have connected
	a := connect(t, trust.Agent, r.addr, nil, k, there.log())
	eventually(t, "the agent is in", func() bool { return r.peers.agentOf("web", "r1") != nil })
	eventually(t, "the connection ends", func() bool { return r.peers.agentOf("web", "r1") == nil && !a.Connected() })
	if got := counted(&r.refusals); got["expired"] == 0 || len(got) != 1 {
		t.Errorf("counted %v, want expired alone", got)
	}
	if !r.poolNamed("web").viewOf("r1") {
		t.Error("its server has left")
	}
}
