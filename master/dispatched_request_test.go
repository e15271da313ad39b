package master

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// What an agent tells of its server is judged by the rules of the file, before anybody is told of it.
func TestAgentsServersAreJudgedLikeTheFiles(t *testing.T) {
	for _, c := range []struct {
		field string
		spoil func(*balance.ServerSpec)
	}{
		{"public", func(s *balance.ServerSpec) { s.Public = "http://x/\r\nSet-Cookie: a=b" }},
		{"public", func(s *balance.ServerSpec) { s.Public = "javascript:alert(1)" }},
		{"address", func(s *balance.ServerSpec) { s.Address = "x\r\n:1" }},
		{"labels", func(s *balance.ServerSpec) { s.Labels = []balance.Label{{Key: "k\xff", Value: "v"}} }},
		{"location", func(s *balance.ServerSpec) { s.Location = "\x1b[2J" }},
	} {
		s := spec("s1")
		c.spoil(&s)
		cfg := web()
		cfg.Pools[0].Servers = []balance.ServerSpec{s}
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "servers[0]."+c.field) {
			t.Errorf("the file: %v, want what is wrong with %s", err, c.field)
		}
		r := start(t, web())
		a := r.dial(wire.RoleAgent, "s1")
		a.send(&wire.Register{Pool: "web", Server: s})
		if f := a.failed(wire.BadRegister); !strings.Contains(f.Detail, c.field) || !utf8.ValidString(f.Detail) {
			t.Errorf("the agent was told %q, want what is wrong with %s", f.Detail, c.field)
		}
		if v := r.view("s1"); v != nil {
			t.Errorf("%s: the server is in the pool: %+v", c.field, v.Spec)
		}
	}
}

// A peer's id and software are judged before it is welcome.
func TestHellosAreJudged(t *testing.T) {
	r := start(t, web("a"))
	for _, h := range []wire.Hello{
		{Role: wire.RoleEdge, ID: "two words"},
		{Role: wire.RoleEdge, ID: "e\xff"},
		{Role: wire.RoleAgent, ID: "s\n1"},
		{Role: wire.RoleAgent, ID: "s1", Software: "\x1b[2J"},
	} {
		h.Min, h.Max = wire.MinVersion, wire.MaxVersion
		p := r.connect()
		p.send(&h)
		if f := p.failed(wire.BadFrame); !strings.Contains(f.Detail, "hello's") {
			t.Errorf("%q: told %q", h.ID, f.Detail)
		}
	}
}

// Of a peer that is not known yet no more than a hello's bytes are taken.
func TestNoMoreThanAHelloBeforeTheWelcome(t *testing.T) {
	r := start(t, web("a"))
	p := r.connect()
	p.write([]byte{0, 0, 8, 0, byte(wire.THello)})
	if f := p.failed(wire.BadFrame); !strings.Contains(f.Detail, "a hello of length") {
		t.Errorf("told %q", f.Detail)
	}
}

// Whatever edges, agents and the API have said, /metrics can be read, and is UTF-8.
func TestMetricsStayReadable(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.send(&wire.Hold{Pool: "web", Lease: 77, Server: "ghost\xff"}, &wire.Hold{Pool: "web", Lease: 78, Server: "gh\"o\\st"})
	e.send(&wire.Reports{Reports: []wire.PoolReport{{Pool: "web", Report: balance.Report{Server: "a", Metrics: []balance.Metric{{Name: "named_metrics.\xff", Value: 1}, {Name: balance.RPS, Value: 2}}}}}})
	e.sync()
	if v := r.view("a"); len(v.Metrics) != 1 || v.Metrics[0].Name != balance.RPS {
		t.Errorf("metrics %+v, want the one that can be read", v.Metrics)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK || !utf8.Valid(w.Body.Bytes()) {
		t.Fatalf("%d, UTF-8: %v", w.Code, utf8.Valid(w.Body.Bytes()))
	}
	if n := strings.Count(w.Body.String(), "\nevenkeel_server_up{"); n != 2 {
		t.Errorf("%d servers are told of, want a and the one of the lease that could be read", n)
	}
}

func TestAPIRequestsAreBounded(t *testing.T) {
	a := newAPI(t, newMaster(t, web("a")))
	long := strings.Repeat("x", balance.MaxName+1)
	for field, body := range map[string]string{
		"tenant": fmt.Sprintf(`{"tenant": %q}`, long), "location": fmt.Sprintf(`{"location": %q}`, long),
		"labels": fmt.Sprintf(`{"labels": {%q: "b"}}`, long), "exclude": `{"exclude": [""]}`, "key": fmt.Sprintf(`{"key": %q}`, strings.Repeat("x", balance.MaxText+1)),
	} {
		if detail := a.problem("POST", "/v1/pools/web/pick", body, 400, "bad-request"); !strings.Contains(detail, field) {
			t.Errorf("%s: %q", field, detail)
		}
	}
}
