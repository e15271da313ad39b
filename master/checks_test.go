package master

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// patient is an application whose health can be set.
type patient struct {
	*httptest.Server
	status atomic.Int64
	looks  atomic.Int64
}

func newPatient(t *testing.T) *patient {
	p := &patient{}
	p.status.Store(200)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && r.UserAgent() == "evenkeel-health" {
			p.looks.Add(1)
		}
		w.WriteHeader(int(p.status.Load()))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *patient) spec(id balance.ServerID) balance.ServerSpec {
	return balance.ServerSpec{ID: id, Address: strings.TrimPrefix(p.URL, "http://")}
}

func checked(h HealthCheck, servers ...balance.ServerSpec) Config {
	h.Interval, h.Timeout = probe.Shortest, 10*time.Second
	return Config{ID: "m1", Pools: []PoolConfig{{Name: "web", Health: h, Servers: servers}}}
}

func (r *rig) state(id balance.ServerID) balance.State { return r.view(id).State }

func TestHTTPHealth(t *testing.T) {
	p, other := newPatient(t), newPatient(t)
	r := start(t, checked(HealthCheck{HTTP: "/health"}, p.spec("a"), other.spec("b")))
	eventually(t, "a is looked at", func() bool { return p.looks.Load() > 2 })
	if got := r.state("a"); got != balance.Up {
		t.Errorf("well: got %s, want up", got)
	}
	p.status.Store(500)
	eventually(t, "a is out", func() bool { return r.state("a") == balance.Ejected })
	p.status.Store(404)
	seen := p.looks.Load()
	eventually(t, "a is looked at more", func() bool { return p.looks.Load() > seen+4 })
	if got := r.state("a"); got != balance.Ejected {
		t.Errorf("404: got %s, want ejected", got)
	}
	p.status.Store(302)
	eventually(t, "a is back", func() bool { return r.state("a") == balance.Up })
	if got := r.state("b"); got != balance.Up {
		t.Errorf("b: got %s, want up", got)
	}
}

// A server that speaks TLS is looked at by TLS, whichever authority signed its certificate.
func TestSecureHealth(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	t.Cleanup(s.Close)
	for _, how := range []HealthCheck{{HTTP: "/health", Fall: 1}, {TCP: true, Fall: 1}} {
		r := start(t, checked(how, balance.ServerSpec{ID: "a", Address: s.URL}))
		p := r.poolNamed("web")
		eventually(t, "a good look", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.stats.checks[passed] > 0
		})
		if got := r.state("a"); got != balance.Up {
			t.Errorf("got %s, want up", got)
		}
	}
}

func TestExpectedStatus(t *testing.T) {
	p := newPatient(t)
	r := start(t, checked(HealthCheck{HTTP: "/health", Status: 204}, p.spec("a")))
	eventually(t, "200 is wrong", func() bool { return r.state("a") == balance.Ejected })
	p.status.Store(204)
	eventually(t, "204 is right", func() bool { return r.state("a") == balance.Up })
}

func TestTCPHealth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, checked(HealthCheck{TCP: true, Fall: 1, Rise: 1}, balance.ServerSpec{ID: "a", Address: l.Addr().String()}))
	p := r.poolNamed("web")
	looks := func(of checkResult) uint64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.stats.checks[of]
	}
	eventually(t, "a good look", func() bool { return looks(passed) > 0 })
	l.Close()
	eventually(t, "a is out", func() bool { return r.state("a") == balance.Ejected })
	if l, err = net.Listen("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	eventually(t, "a is back", func() bool { return r.state("a") == balance.Up })
}

// An agent sees its server from beside it, the master from where edges are: a server with an
// agent is checked too.
func TestAServerWithAnAgentIsCheckedToo(t *testing.T) {
	p := newPatient(t)
	r := start(t, checked(HealthCheck{HTTP: "/health"}, p.spec("s1")))
	agent := r.dial(wire.RoleAgent, "s1")
	agent.send(&wire.Register{Pool: "web", Server: p.spec("s1")})
	agent.sync()
	p.status.Store(500)
	eventually(t, "s1 is out", func() bool { return r.state("s1") == balance.Ejected })
	if got := r.view("s1").Unhealthy; !strings.Contains(got, "answered 500") {
		t.Errorf("got %q as the reason, want that it answered 500", got)
	}
	p.status.Store(200)
	eventually(t, "s1 is in", func() bool { return r.state("s1") == balance.Up })
}

// A server whose agent says that it is down gets nothing, and the reason is told.
func TestAnAgentTellsThatItsServerIsDown(t *testing.T) {
	r := start(t, web())
	other, a := r.dialAgent("s2"), r.dial(wire.RoleAgent, "s1")
	tell := func(down string) {
		t.Helper()
		a.send(&wire.Register{Pool: "web", Server: spec("s1"), Down: down})
		a.sync()
	}
	tell("nothing listens at 127.0.0.1:1")
	if v := r.view("s1"); v.State != balance.Ejected || v.Unhealthy != "nothing listens at 127.0.0.1:1" {
		t.Errorf("registered as down: got %s, %q", v.State, v.Unhealthy)
	}
	e := r.dialEdge("e1")
	for seq := range uint64(20) {
		e.ask(wire.Ask{Seq: seq + 1, Pool: "web"})
		if g := e.granted(); g.Grant.Server != "s2" {
			t.Fatalf("ask %d: got %s, want s2", seq, g.Grant.Server)
		}
	}
	tell("")
	if v := r.view("s1"); v.State != balance.Up || v.Unhealthy != "" {
		t.Errorf("up again: got %s, %q", v.State, v.Unhealthy)
	}
	tell("no answer within 1s")
	if v := r.view("s1"); v.State != balance.Ejected {
		t.Errorf("down again: got %s", v.State)
	}
	a.Close() // no agent is left to take its word back
	eventually(t, "the word of an agent that is gone counts no more", func() bool { return r.state("s1") == balance.Up })
	other.Close()
}

func TestAReloadEndsChecks(t *testing.T) {
	p := newPatient(t)
	p.status.Store(500)
	r := start(t, checked(HealthCheck{HTTP: "/health"}, p.spec("a")))
	eventually(t, "a is out", func() bool { return r.state("a") == balance.Ejected })
	cfg := checked(HealthCheck{}, p.spec("a"))
	cfg.Pools[0].Health = HealthCheck{}
	r.reload(cfg)
	eventually(t, "a is in", func() bool { return r.state("a") == balance.Up })
}

// A thousand servers are not looked at all at once.
func TestLooksAreSpread(t *testing.T) {
	m := newMaster(t, Config{})
	c := &checker{master: m, targets: make(map[agentKey]*target)}
	const n = 1000
	var bins [10]int
	for i := range n {
		key := agentKey{"web", balance.ServerID("server-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26))}
		c.setTarget(1, key, &target{check: HealthCheck{TCP: true}.WithDefaults()})
		bins[int(c.targets[key].due.Sub(1)*10/probe.DefaultInterval)]++
	}
	for i, got := range bins {
		if got < n/20 || got > n/5 {
			t.Errorf("tenth %d of the interval: got %d of %d, want about %d: %v", i, got, n, n/10, bins)
		}
	}
}
