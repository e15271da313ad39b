package master

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
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
		said balance.Override
		want balance.State
	}{
		{"drained", balance.Override{On: true, At: 20}, balance.Draining},
		{"undrained before", balance.Override{At: 10}, balance.Draining},
		{"undrained at the same time", balance.Override{At: 20}, balance.Draining},
		{"undrained later", balance.Override{At: 21}, balance.Up},
		{"drained before that", balance.Override{On: true, At: 20}, balance.Up},
		{"drained at the same time", balance.Override{On: true, At: 21}, balance.Draining},
	} {
		e.send(&wire.Override{Pool: "web", Server: "a", Override: c.said})
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
	e.send(&wire.Override{Pool: "web", Server: "s1", Override: balance.Override{On: true, At: 20, By: "ann"}})
	e.sync()
	r.dialAgent("s1")
	if v := r.view("s1"); v.State != balance.Draining || v.Outages[0].By != "ann" {
		t.Errorf("s1 is %s, %+v, want it draining by ann", v.State, v.Outages)
	}
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range maxOverrides + 10 {
		p.storeOverrideLocked(1, balance.ServerID("x"+strings.Repeat("y", i%200)+string(rune('a'+i/200))), balance.Override{At: int64(i)})
	}
	if len(p.overrides) > maxOverrides || !p.overrides[overrideKey{"s1", balance.Drained}].On {
		t.Errorf("%d drains are kept, s1 %+v, want %d at most and s1 drained", len(p.overrides), p.overrides[overrideKey{"s1", balance.Drained}], maxOverrides)
	}
}

// An agent may say so of its own server, and of no other.
func TestAnAgentKeepsTheDrainOfItsOwnServer(t *testing.T) {
	r := start(t, web("a"))
	s1 := r.dialAgent("s1")
	s1.send(&wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: 20}}, &wire.Override{Pool: "web", Server: "s1", Override: balance.Override{On: true, At: 20}})
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
	by := func(k *trust.Keeper, m wire.Override) *wire.Override {
		proof, err := k.SignStatement(overrideStatement, m.Statement())
		if err != nil {
			t.Fatal(err)
		}
		m.Override.Proof = proof
		return &m
	}
	drain := wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: now, By: "alice"}}
	other := h.good(trust.Master, "m2")
	altered := *by(other, drain)
	altered.Override.At++
	elsewhere := *by(other, wire.Override{Pool: "web", Server: "b", Override: drain.Override})
	elsewhere.Server = "a"
	ended := wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: now - 3e6*24*3600*100}}
	foreign := h.issue(h.foreign, trust.Master, "m2", time.Now(), trust.DefaultLife)
	foreign.CA = h.both()
	for what, m := range map[string]*wire.Override{
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
		agent.send(&wire.Override{Pool: "web", Server: "s1", Override: balance.Override{At: at}})
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
	e.send(&wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: 9e15}}, &wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: now + 2*maxClockAhead.Microseconds()}})
	e.sync()
	if got := r.view("a").State; got != balance.Up {
		t.Errorf("a is %s, want up", got)
	}
	e.send(&wire.Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: now + maxClockAhead.Microseconds()/2}})
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
	r.overrideCount.Store(maxOverrides - 4)
	e := r.dialEdge("e1")
	for i := range 100 {
		e.send(&wire.Override{Pool: []string{"web", "opened"}[i%2], Server: balance.ServerID("x" + strconv.Itoa(i)), Override: balance.Override{On: true, At: int64(i + 1)}})
	}
	e.sync()
	kept := 0
	for _, p := range r.pools.Load().list {
		p.mu.Lock()
		kept += len(p.overrides)
		p.mu.Unlock()
	}
	if kept != 4 || r.overrideCount.Load() != maxOverrides {
		t.Errorf("%d drains are kept and %d counted, want 4 and %d", kept, r.overrideCount.Load(), maxOverrides)
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
	for _, d := range []balance.Override{{By: "al\x1b[31mice"}, {By: "ann\nroot"}, {Reason: "\x1b]0;owned\a"}, {Reason: "\u202e"}, {Reason: "\xff"}} {
		d.On, d.At = true, 20
		e.send(&wire.Override{Pool: "web", Server: "a", Override: d})
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

// What operators set of a server counts more than what is declared, is shown with who and what is declared, and ends when it is unset.
func TestOperatorsSetWhatServersHave(t *testing.T) {
	cfg := web("a", "b")
	cfg.Pools[0].Servers[0].Slots = 8
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	const at = "/v1/pools/web/servers/a/"
	for _, c := range []struct {
		path, body string
		want       int
		says       string
	}{
		{at + "set", `{}`, 400, "nothing to set"},
		{at + "set", `{"slots": 0}`, 400, "slots: 0, want 0.001 to 1000000"},
		{at + "set", `{"slots": 2, "max_in_flight": 1.5}`, 400, "max_in_flight: 1.5, want a whole number from 1 to 1000000"},
		{at + "set", `{"maintenance": "yes"}`, 400, "maintenance"},
		{at + "set", `{"slots": 2, "by": "al\u001bice"}`, 400, "printable"},
		{"/v1/pools/web/servers/x/set", `{"slots": 2}`, 404, `no server "x"`},
		{at + "unset", `{"settings": ["drain"]}`, 400, "want slots, max_in_flight or maintenance"},
		{at + "unset", `{"settings": ["slots"]}`, 409, "slots is not set"},
	} {
		status, answer, _ := a.call("POST", c.path, c.body)
		if detail, _ := answer["detail"].(string); status != c.want || !strings.Contains(detail, c.says) {
			t.Errorf("%s: got %d, %v, want %d and %q", c.body, status, answer, c.want, c.says)
		}
	}
	if v := r.view("a"); v.Slots != 8 {
		t.Fatalf("after bad commands a has %v slots, want 8", v.Slots)
	}
	a.call("POST", at+"set", `{"slots": 3, "max_in_flight": 2, "maintenance": true, "by": "ann", "reason": "fan"}`)
	if v := r.view("a"); v.Slots != 3 || v.State != balance.Draining || v.Outages[0].Kind != balance.OutMaintenance || v.Outages[0].By != "ann" || v.Spec.Slots != 8 {
		t.Errorf("a is %+v, want 3 slots, declared 8, in maintenance by ann", v)
	}
	_, status, _ := a.call("GET", "/v1/status", "")
	told, _ := json.Marshal(status["pools"].([]any)[0].(map[string]any)["servers"].([]any)[0].(map[string]any)["overrides"])
	for _, want := range []string{`"declared":8,"declared_by":"file","reason":"fan","setting":"slots","value":3`, `"setting":"max_in_flight","value":2`, `"setting":"maintenance"`, `"by":"ann"`} {
		if !strings.Contains(string(told), want) {
			t.Errorf("the status says %s, want %s in it", told, want)
		}
	}
	a.call("POST", at+"unset", `{"settings": ["maintenance"]}`)
	for range 2 {
		if grant, err := r.Master.pick(t.Context(), "web", "", &balance.Request{Exclude: []balance.ServerID{"b"}}); err != nil || grant.Server != "a" {
			t.Fatalf("got %+v, %v, want a", grant, err)
		}
	}
	_, why, _ := a.call("POST", "/v1/pools/web/explain", `{"exclude": ["b"]}`)
	if told, _ := json.Marshal(why["candidates"]); !strings.Contains(string(told), `"why":"at its max_in_flight"`) || !strings.Contains(string(told), `"setting":"max_in_flight","value":2`) {
		t.Errorf("with 2 requests a is explained by %s, want it at its max_in_flight, which is set", told)
	}
	_, answer, _ := a.call("POST", at+"unset", "")
	if v := r.view("a"); v.Slots != 8 || v.State != balance.Up || len(answer["overrides"].([]any)) != 0 {
		t.Errorf("after unset a is %+v, and the answer %v, want 8 slots, up, nothing set", v, answer)
	}
}

// A drain and maintenance are two things: the end of one leaves the other.
func TestMaintenanceIsNoDrain(t *testing.T) {
	r := start(t, web("a"))
	a := newAPI(t, r.Master)
	const at = "/v1/pools/web/servers/a/"
	for _, c := range []struct {
		verb, body string
		want       []balance.OutageKind
	}{
		{"set", `{"maintenance": true}`, []balance.OutageKind{balance.OutMaintenance}},
		{"drain", "", []balance.OutageKind{balance.OutDraining, balance.OutMaintenance}},
		{"unset", "", []balance.OutageKind{balance.OutDraining}},
		{"set", `{"maintenance": true}`, []balance.OutageKind{balance.OutDraining, balance.OutMaintenance}},
		{"undrain", "", []balance.OutageKind{balance.OutMaintenance}},
	} {
		a.call("POST", at+c.verb, c.body)
		var got []balance.OutageKind
		for _, o := range r.view("a").Outages {
			got = append(got, o.Kind)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("after %s %s: %v, want %v", c.verb, c.body, got, c.want)
		}
	}
}

// What is set reaches other masters by edges and agents, as drains do, and the next process by a file.
func TestWhatIsSetReachesEveryMaster(t *testing.T) {
	first, second := start(t, web("a")), start(t, web("a"))
	edge, err := client.NewMasters(client.Config{Masters: []string{first.addr, second.addr}, ID: "e1", Pools: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, edge.Run)
	eventually(t, "both masters tell the edge", func() bool { return first.watched("web") && second.watched("web") })
	newAPI(t, first.Master).call("POST", "/v1/pools/web/servers/a/set", `{"slots": 3, "maintenance": true, "by": "ann"}`)
	eventually(t, "the second knows it", func() bool { v := second.view("a"); return v.Slots == 3 && v.State == balance.Draining })
	newAPI(t, second.Master).call("POST", "/v1/pools/web/servers/a/unset", "")
	eventually(t, "the first knows that it is over", func() bool { v := first.view("a"); return v.Slots != 3 && v.State == balance.Up })
}

// A reload changes nothing of what is set, and the file's new value is shown beside it.
func TestAReloadLeavesWhatIsSet(t *testing.T) {
	cfg := web("a")
	cfg.DrainsFile = filepath.Join(t.TempDir(), "drains.json")
	cfg.Pools[0].Servers[0].Slots = 8
	r := start(t, cfg)
	newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/set", `{"slots": 3}`)
	newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/drain", "")
	next := web("a")
	next.Pools[0].Servers[0].Slots = 16
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	o := r.poolNamed("web").overridesInForce()["a"]
	if v := r.view("a"); v.Slots != 3 || v.Spec.Slots != 16 || len(o) != 1 || *o[0].Value != 3 || *o[0].Declared != 16 {
		t.Errorf("after the reload a is %+v, and set is %+v, want 3 slots and 16 declared", v, o)
	}
	again := start(t, cfg)
	if v := again.view("a"); v.Slots != 3 || v.State != balance.Draining {
		t.Errorf("the next process has %+v, want 3 slots and a drain", v)
	}
}

// Slots that an operator has set count more than what answers and reports tell.
func TestSetSlotsCountMoreThanWhatIsLearnt(t *testing.T) {
	r := start(t, web("a"))
	newAPI(t, r.Master).call("POST", "/v1/pools/web/servers/a/set", `{"slots": 3}`)
	p := r.poolNamed("web")
	p.mu.Lock()
	p.core.Recall(clock.Now(), []balance.SnapshotServer{{ID: "a", Slots: 40, Service: .1, Basis: balance.BasisFirm}})
	p.mu.Unlock()
	if v := r.view("a"); v.Slots != 3 {
		t.Errorf("a has %v slots, want the 3 that were set", v.Slots)
	}
}
