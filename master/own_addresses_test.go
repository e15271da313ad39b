package master

import (
	"net"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// serving is a component's admin address and what it tells of itself.
func serving(t *testing.T) (at string, own *inside.Set) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	own = new(inside.Set)
	own.AddOwn(l)
	return l.Addr().String(), own
}

func TestAdminAddressesOfAgentsAndEdgesAreNoServers(t *testing.T) {
	for _, c := range []struct {
		role    string
		connect func(r *rig, own *inside.Set) (connected func() bool, stop func())
	}{
		{"agent", func(r *rig, own *inside.Set) (func() bool, func()) {
			a, err := client.NewAgent(client.AgentConfig{Masters: []string{r.addr}, Pool: "web", Server: nearbySpec("honest"), Inside: own})
			if err != nil {
				t.Fatal(err)
			}
			return a.Connected, runAll(t, a.Run)
		}},
		{"edge", func(r *rig, own *inside.Set) (func() bool, func()) {
			e, err := client.NewMasters(client.Config{Masters: []string{r.addr}, ID: "e1", Pools: []string{"web"}, Inside: own})
			if err != nil {
				t.Fatal(err)
			}
			return e.Connected, runAll(t, e.Run)
		}},
	} {
		t.Run(c.role, func(t *testing.T) {
			cfg := web()
			cfg.Inside = new(inside.Set)
			r := start(t, cfg)
			at, own := serving(t)
			// An agent whose server is there already has to leave when the component tells of the address.
			before := r.dial(wire.RoleAgent, "before")
			before.send(&wire.Register{Pool: "web", Server: balance.ServerSpec{ID: "before", Address: at}})
			before.sync()
			if r.view("before") == nil {
				t.Fatal("the server is not in the pool")
			}
			connected, stop := c.connect(r, own)
			eventually(t, "the component", connected)
			if f := before.failed(wire.Forbidden); !strings.Contains(f.Detail, "one of our own components") {
				t.Errorf("the agent was told %q", f.Detail)
			}
			eventually(t, "its server has left", func() bool { v := r.view("before"); return v == nil || v.State == balance.Gone })
			// One that comes later is refused.
			_, port, _ := net.SplitHostPort(at)
			for _, spelling := range []string{at, "localhost:" + port, "[::1]:" + port, "127.0.0.9:" + port} {
				later := r.dial(wire.RoleAgent, "later")
				later.send(&wire.Register{Pool: "web", Server: balance.ServerSpec{ID: "later", Address: spelling}})
				if f := later.failed(wire.Forbidden); !strings.Contains(f.Detail, "one of our own components") {
					t.Errorf("%s: the agent was told %q", spelling, f.Detail)
				}
			}
			if got := counted(&r.refusals)["wrong-address"]; got != 5 {
				t.Errorf("%d refusals were counted, want 5", got)
			}
			// When the component has gone the address may be another's.
			stop()
			eventually(t, "the address is free", func() bool { return !r.inside.HasText(at) })
			free := r.dial(wire.RoleAgent, "free")
			free.send(&wire.Register{Pool: "web", Server: balance.ServerSpec{ID: "free", Address: at}})
			free.sync()
			if r.view("free") == nil {
				t.Error("the address is not free")
			}
		})
	}
}

// An edge learns where its masters serve operators, and forgets it with the connection.
func TestMastersTellEdgesWhereTheyServe(t *testing.T) {
	cfg := web()
	cfg.Inside = new(inside.Set)
	admin := mustListen(t)
	cfg.Inside.AddOwn(admin)
	r := start(t, cfg)
	own := new(inside.Set)
	e, err := client.NewMasters(client.Config{Masters: []string{r.addr}, ID: "e1", Pools: []string{"web"}, Inside: own})
	if err != nil {
		t.Fatal(err)
	}
	stop := runAll(t, e.Run)
	at := admin.Addr().String()
	eventually(t, "the edge knows", func() bool { return own.HasText(at) })
	if err := own.Control("tcp", at, nil); err == nil || own.HasOwn(at) {
		t.Errorf("the edge would connect a client to it: %v", err)
	}
	stop()
	if own.HasText(at) {
		t.Error("it is known when the master has gone")
	}
}

// What an agent tells of its addresses takes no server away that the file names, and keeps no reload from being done.
func TestAPeersWordTakesNoServerOfTheFile(t *testing.T) {
	at, own := serving(t)
	var log journal
	cfg := web()
	cfg.Inside, cfg.Log = new(inside.Set), log.log()
	cfg.Pools[0].Servers = []balance.ServerSpec{{ID: "filed", Address: at}}
	r := start(t, cfg)
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{r.addr}, Pool: "web", Server: nearbySpec("a"), Inside: own})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, a.Run)
	eventually(t, "the agent", a.Connected)
	eventually(t, "the log tells of it", func() bool { return strings.Contains(log.String(), "clients can reach that") })
	if v := r.view("filed"); v == nil || v.State != balance.Up {
		t.Errorf("the file's server: got %+v", v)
	}
	if err := r.Reload(cfg); err != nil {
		t.Errorf("a reload: %v", err)
	}
	r.inside.AddOwn(mustListen(t))
	cfg.Pools[0].Servers = append(cfg.Pools[0].Servers, balance.ServerSpec{ID: "own", Address: r.inside.Own()[0]})
	if err := r.Reload(cfg); err == nil || !strings.Contains(err.Error(), "servers[1].address") {
		t.Errorf("the master's own address: got %v", err)
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
