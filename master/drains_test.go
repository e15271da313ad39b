package master

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// What is said last of a server counts, in whatever order it comes to the master.
func TestTheLastDrainCounts(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	for _, c := range []struct {
		what string
		said balance.Drain
		want balance.State
	}{
		{"drained", balance.Drain{On: true, At: 20}, balance.Draining},
		{"undrained before", balance.Drain{At: 10}, balance.Draining},
		{"undrained at the same time", balance.Drain{At: 20}, balance.Draining},
		{"undrained later", balance.Drain{At: 21}, balance.Up},
		{"drained before that", balance.Drain{On: true, At: 20}, balance.Up},
		{"drained at the same time", balance.Drain{On: true, At: 21}, balance.Draining},
	} {
		e.send(&wire.Drain{Pool: "web", Server: "a", Drain: c.said})
		e.sync()
		if got := r.view("a").State; got != c.want {
			t.Errorf("%s: a is %s, want %s", c.what, got, c.want)
		}
	}
	newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/undrain", "")
	if got := r.view("a").State; got != balance.Up {
		t.Errorf("undrained by the API: a is %s, want up: now is later than all that was said before", got)
	}
}

// A drain of a server that is not there yet holds when it comes; one that cannot be of a
// server of the pool takes no room from others for ever.
func TestADrainWaitsForItsServer(t *testing.T) {
	r := start(t, web())
	e := r.dialEdge("e1")
	e.send(&wire.Drain{Pool: "web", Server: "s1", Drain: balance.Drain{On: true, At: 20, By: "ann"}})
	e.sync()
	r.dialAgent("s1")
	if v := r.view("s1"); v.State != balance.Draining || v.Outages[0].By != "ann" {
		t.Errorf("s1 is %s, %+v, want it draining by ann", v.State, v.Outages)
	}
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range maxDrains + 10 {
		p.storeDrainLocked(1, balance.ServerID("x"+strings.Repeat("y", i%200)+string(rune('a'+i/200))), balance.Drain{At: int64(i)})
	}
	if len(p.drains) > maxDrains || !p.drains["s1"].On {
		t.Errorf("%d drains are kept, s1 %+v, want %d at most and s1 drained", len(p.drains), p.drains["s1"], maxDrains)
	}
}

// An agent may say so of its own server, and of no other.
func TestAnAgentKeepsTheDrainOfItsOwnServer(t *testing.T) {
	r := start(t, web("a"))
	s1 := r.dialAgent("s1")
	s1.send(&wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: 20}}, &wire.Drain{Pool: "web", Server: "s1", Drain: balance.Drain{On: true, At: 20}})
	s1.sync()
	if a, s1 := r.view("a").State, r.view("s1").State; a != balance.Up || s1 != balance.Draining {
		t.Errorf("a is %s, s1 is %s, want up and draining", a, s1)
	}
}

// dialBy connects to a master with certificates.
func (r *rig) dialBy(h *house, role wire.Role, name string) *remotePeer {
	r.t.Helper()
	f := h.issue(h.ours, roleOf(role), name, time.Now(), trust.DefaultLife)
	p := r.connect()
	p.Conn = tls.Client(p.Conn, h.bare(&f))
	p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: role, ID: name, Software: "test"})
	p.want(wire.TWelcome, new(wire.Welcome))
	return p
}

// By certificates a drain is a master's word: edges and agents pass it on, and can make up none, nor change one.
func TestPeersMakeUpNoDrains(t *testing.T) {
	h := newHouse(t)
	cfg := web("a")
	cfg.Trust = h.good(trust.Master, "m1")
	r := start(t, cfg)
	e, agent := r.dialBy(h, wire.RoleEdge, "e2"), r.dialBy(h, wire.RoleAgent, "s1")
	agent.send(&wire.Register{Pool: "web", Server: nearbySpec("s1")})
	agent.sync()

	now := clock.Micros(clock.Now())
	by := func(k *trust.Keeper, m wire.Drain) *wire.Drain {
		proof, err := k.SignStatement(drainStatement, m.Statement())
		if err != nil {
			t.Fatal(err)
		}
		m.Drain.Proof = proof
		return &m
	}
	drain := wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: now, By: "alice"}}
	other := h.good(trust.Master, "m2")
	altered := *by(other, drain)
	altered.Drain.At++
	elsewhere := *by(other, wire.Drain{Pool: "web", Server: "b", Drain: drain.Drain})
	elsewhere.Server = "a"
	ended := wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: now - 3e6*24*3600*100}}
	foreign := h.issue(h.foreign, trust.Master, "m2", time.Now(), trust.DefaultLife)
	foreign.CA = h.both()
	for what, m := range map[string]*wire.Drain{
		"without a proof": &drain, "by an edge's certificate": by(h.good(trust.Edge, "e2"), drain), "by an agent's": by(h.good(trust.Agent, "s1"), drain),
		"by a master of another authority": by(h.keeper(foreign), drain), "by a master before its certificate was valid": by(other, ended),
		"changed on its way": &altered, "of another server": &elsewhere,
	} {
		e.send(m)
		e.sync()
		if got := r.view("a").State; got != balance.Up {
			t.Errorf("%s: a is %s, want up", what, got)
		}
	}
	e.send(by(other, drain))
	e.sync()
	if v := r.view("a"); v.State != balance.Draining || v.Outages[0].By != "alice" {
		t.Errorf("by another master: a is %s, %+v, want it draining by alice", v.State, v.Outages)
	}

	api := newAPI(t, r.Master)
	api.call("POST", "/v1/pools/web/servers/s1/drain", "")
	for _, at := range []int64{now + 60e6, 9e15} {
		agent.send(&wire.Drain{Pool: "web", Server: "s1", Drain: balance.Drain{At: at}})
		agent.sync()
		if got := r.view("s1").State; got != balance.Draining {
			t.Errorf("undrained by its agent as of %d: s1 is %s, want draining", at, got)
		}
	}
}

// What is said to be of the future would be the last word until then, and beyond what masters can tell.
func TestDrainsOfTheFutureDoNotCount(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.send(&wire.Watch{Pool: "web"})
	now := clock.Micros(clock.Now())
	e.send(&wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: 9e15}}, &wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: now + 2*maxClockAhead.Microseconds()}})
	e.sync()
	if got := r.view("a").State; got != balance.Up {
		t.Errorf("a is %s, want up", got)
	}
	e.send(&wire.Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: now + maxClockAhead.Microseconds()/2}})
	e.sync()
	status, _, _ := newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/undrain", "")
	if got := r.view("a").State; status != 200 || got != balance.Up {
		t.Errorf("undrained by the API: %d, and a is %s, want up: the masters' clocks differ by little", status, got)
	}
	e.sync() // it can read all that it was told
}

// Drains of servers that are not there fill neither the memory nor the place of others.
func TestDrainsOfStrangersTakeNoPlace(t *testing.T) {
	cfg := web("a")
	cfg.OpenPools = true
	r := start(t, cfg)
	r.drainCount.Store(maxDrains - 4)
	e := r.dialEdge("e1")
	for i := range 100 {
		e.send(&wire.Drain{Pool: []string{"web", "opened"}[i%2], Server: balance.ServerID("x" + strconv.Itoa(i)), Drain: balance.Drain{On: true, At: int64(i + 1)}})
	}
	e.sync()
	kept := 0
	for _, p := range r.pools.Load().list {
		p.mu.Lock()
		kept += len(p.drains)
		p.mu.Unlock()
	}
	if kept != 4 || r.drainCount.Load() != maxDrains {
		t.Errorf("%d drains are kept and %d counted, want 4 and %d", kept, r.drainCount.Load(), maxDrains)
	}
	status, _, _ := newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/drain", "")
	if got := r.view("a").State; status != 200 || got != balance.Draining {
		t.Errorf("drained by the API: %d, and a is %s, want draining", status, got)
	}
}

// What an operator could not have said stands in no log and on no terminal.
func TestDrainsAreSaidInPlainText(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	for _, d := range []balance.Drain{{By: "al\x1b[31mice"}, {By: "ann\nroot"}, {Reason: "\x1b]0;owned\a"}, {Reason: "\u202e"}, {Reason: "\xff"}} {
		d.On, d.At = true, 20
		e.send(&wire.Drain{Pool: "web", Server: "a", Drain: d})
		e.sync()
		if v := r.view("a"); v.State != balance.Up {
			t.Errorf("%+q: a is %s, %+v, want it up", d.By+d.Reason, v.State, v.Outages)
		}
	}
}

func TestToDrainAgainTakesNoReasonBack(t *testing.T) {
	r := start(t, web("a"))
	a := newAPI(t, r.Master)
	for _, c := range []struct{ verb, body, want string }{
		{"drain", `{"reason":"disk"}`, `"disk"`}, {"drain", `{}`, `"disk"`}, {"drain", `{"reason":"fan"}`, `"fan"`}, {"undrain", `{}`, ""}, {"drain", `{}`, ""},
	} {
		a.call("POST", "/v1/pools/web/servers/a/"+c.verb, c.body)
		what := ""
		if v := r.view("a"); len(v.Outages) > 0 {
			what = v.Outages[0].What
		}
		if what != c.want {
			t.Errorf("after %s %s: the reason is %s, want %s", c.verb, c.body, what, c.want)
		}
	}
}

// Masters that know nothing of each other learn of a drain by the edge and by the agent
// that are connected to both, and one that starts anew learns it from them.
func TestDrainsReachEveryMaster(t *testing.T) {
	for _, by := range []string{"edge", "agent", "edge by certificates", "agent by certificates"} {
		t.Run(by, func(t *testing.T) {
			by, secure := strings.CutSuffix(by, " by certificates")
			cfg, other := web("a"), web("a")
			if by == "agent" {
				cfg, other = web(), web()
			}
			var own *trust.Keeper
			if secure {
				h := newHouse(t)
				cfg.Trust, other.Trust = h.good(trust.Master, "m1"), h.good(trust.Master, "m2")
				own = h.good(map[string]trust.Role{"edge": trust.Edge, "agent": trust.Agent}[by], map[string]string{"edge": "e1", "agent": "a"}[by])
			}
			first, second := start(t, cfg), start(t, other)
			masters := []string{first.addr, second.addr}
			if by == "edge" {
				edge, err := client.NewMasters(client.Config{Masters: masters, ID: "e1", Pools: []string{"web"}, Trust: own})
				if err != nil {
					t.Fatal(err)
				}
				runAll(t, edge.Run)
				eventually(t, "both masters tell the edge", func() bool { return first.watched("web") && second.watched("web") })
			} else {
				agent, err := client.NewAgent(client.AgentConfig{Masters: masters, Pool: "web", Server: nearbySpec("a"), Trust: own})
				if err != nil {
					t.Fatal(err)
				}
				runAll(t, agent.Run)
				eventually(t, "both masters know the server", func() bool { return first.view("a") != nil && second.view("a") != nil })
			}
			newAPI(t, first.Master).call("POST", "/v1/pools/web/servers/a/drain", `{"reason": "disk"}`)
			eventually(t, "the second knows it", func() bool { return second.view("a").State == balance.Draining })
			if out := second.view("a").Outages; out[0].What != `"disk"` {
				t.Errorf("the second master says %+v, want the reason", out)
			}
			newAPI(t, second.Master).call("POST", "/v1/pools/web/servers/a/undrain", "")
			eventually(t, "the first knows that it is over", func() bool { return first.view("a").State == balance.Up })
		})
	}
}

func (r *rig) watched(pool string) bool { return len(r.watchersOf(pool)) > 0 }

// A file keeps drains where neither edges nor agents do.
func TestAFileKeepsDrains(t *testing.T) {
	cfg := web("a", "b")
	cfg.DrainsFile = filepath.Join(t.TempDir(), "drains.json")
	first := newAPI(t, newMaster(t, cfg))
	_, told, _ := first.call("POST", "/v1/pools/web/servers/a/drain", `{"by": "ann", "reason": "disk"}`)
	if told["kept_by"].(map[string]any)["file"] != cfg.DrainsFile {
		t.Errorf("got %v, want it to name the file", told)
	}
	first.call("POST", "/v1/pools/web/servers/b/drain", "")
	first.call("POST", "/v1/pools/web/servers/b/undrain", "")
	second := start(t, cfg)
	if a, b := second.view("a"), second.view("b"); a.State != balance.Draining || a.Outages[0].By != "ann" || b.State != balance.Up {
		t.Errorf("a is %s, %+v and b is %s, want a draining by ann and b up", a.State, a.Outages, b.State)
	}
	if text, err := os.ReadFile(cfg.DrainsFile); err != nil || !json.Valid(text) {
		t.Errorf("the file has %s, %v", text, err)
	}
	if err := os.WriteFile(cfg.DrainsFile, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), cfg.DrainsFile) || !strings.Contains(err.Error(), "repair it, or remove it") {
		t.Errorf("a file that is cut off: got %v, want an error that names it and says what to do", err)
	}
}
