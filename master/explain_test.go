package master

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestLeaseByAPI(t *testing.T) {
	r := start(t, web("a", "b"))
	a := newAPI(t, r.Master)
	e := r.Edge("e1")
	e.Report("web", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: 50}}})
	g, err := e.Pick(context.Background(), "web", &balance.Request{Key: "user-17", Tenant: "t", Belief: balance.Proven, Priority: 2, Link: balance.LinkRedirect})
	if err != nil || g.Server != "b" {
		t.Fatalf("got %+v, %v, want b", g, err)
	}
	path := "/v1/leases/" + g.Lease.String()
	status, l, _ := a.call("GET", path, "")
	if left, _ := l["expires_ms"].(float64); status != 200 || l["open"] != true || l["server"] != "b" || l["edge"] != "e1" || l["pool"] != "web" || left <= 0 {
		t.Fatalf("got %d %v, want the open lease on b", status, l)
	}
	d := l["decision"].(map[string]any)
	facts := d["request"].(map[string]any)
	if d["chosen"] != "b" || d["server_count"] != 2. || facts["key"] != hashOf("user-17") || facts["tenant"] != "t" || facts["tenant_belief"] != "proven" || facts["priority"] != 2. || facts["link"] != "redirect" {
		t.Errorf("got %v, want b chosen of 2 for the request's facts", d)
	}
	best, loser := candidate(d, 0), candidate(d, 1)
	if best["why"] != "chosen" || best["report_age_ms"] != nil || loser["server"] != "a" || loser["why"] != "higher score" || loser["external_load"].(float64) < 40 || loser["report_age_ms"] == nil {
		t.Errorf("got %v before %v, want b chosen, and a busy with others' work", best, loser)
	}
	e.Done("web", g.Lease, balance.Outcome{})
	if status, l, _ := a.call("GET", path, ""); status != 200 || l["open"] != false || l["server"] != "b" || l["decision"] == nil || l["expires_ms"] != nil {
		t.Errorf("got %d %v, want that the lease is over, and its decision", status, l)
	}
	a.problem("GET", "/v1/leases/0000000000000001", "", 404, "unknown-lease")
	a.problem("GET", "/v1/leases/zz", "", 400, "bad-request")
}

func candidate(d map[string]any, i int) map[string]any {
	return d["candidates"].([]any)[i].(map[string]any)
}

func TestLeaseWithoutADecision(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Decisions = None
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	g, err := r.Edge("e1").Pick(context.Background(), "web", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if status, l, _ := a.call("GET", "/v1/leases/"+g.Lease.String(), ""); status != 200 || l["server"] != "a" || l["decision"] != nil {
		t.Errorf("got %d %v, want the lease alone", status, l)
	}
	r.Edge("e1").Done("web", g.Lease, balance.Outcome{})
	a.problem("GET", "/v1/leases/"+g.Lease.String(), "", 404, "unknown-lease")
	if status, all, _ := a.call("GET", "/v1/pools/web/decisions", ""); status != 200 || len(all["decisions"].([]any)) != 0 {
		t.Errorf("got %d %v, want no decisions", status, all)
	}
}

func TestExplainByAPI(t *testing.T) {
	r := start(t, narrow(0))
	a := newAPI(t, r.Master)
	ask := func(body string) map[string]any {
		t.Helper()
		status, d, _ := a.call("POST", "/v1/pools/web/explain", body)
		if status != http.StatusOK {
			t.Fatalf("%s: got %d %v, want 200", body, status, d)
		}
		return d
	}
	if d := ask(`{"key":"k"}`); d["chosen"] != "a" || d["queue_length"] != 0. || r.open() != 0 {
		t.Errorf("got %v with %d leases open, want a chosen and nothing granted", d, r.open())
	}
	if d := ask(`{"exclude":["a"]}`); d["chosen"] != "" || candidate(d, 0)["why"] != "excluded: it has already failed this request" {
		t.Errorf("got %v, want a excluded", d)
	}
	if _, err := r.Edge("e1").Pick(context.Background(), "web", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	if d := ask(""); d["chosen"] != "" || candidate(d, 0)["why"] != "at its limit" {
		t.Errorf("got %v, want a at its limit", d)
	}
	a.problem("POST", "/v1/pools/web/explain", `{"reports":[{"server":"a"}]}`, 400, "bad-request")
	a.problem("POST", "/v1/pools/web/explain", `{"colour":1}`, 400, "bad-request")
	a.problem("POST", "/v1/pools/zz/explain", `{}`, 404, "no-such-pool")
}

func TestDecisionsByAPI(t *testing.T) {
	cfg := web("a")
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "rr", Policy: "round-robin", Servers: []balance.ServerSpec{spec("x"), spec("y")}})
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	for _, pool := range []string{"web", "rr"} {
		for i := range 30 {
			if _, err := r.Edge("e1").Pick(context.Background(), pool, &balance.Request{Key: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for limit, want := range map[string]int{"": 20, "?limit=3": 3, "?limit=1000": 30} {
			status, all, _ := a.call("GET", "/v1/pools/"+pool+"/decisions"+limit, "")
			list, _ := all["decisions"].([]any)
			if status != 200 || len(list) != want || list[0].(map[string]any)["request"].(map[string]any)["key"] != hashOf("29") {
				t.Errorf("%s%s: got %d and %d decisions, want %d, newest first", pool, limit, status, len(list), want)
			}
		}
	}
	for _, limit := range []string{"0", "1001", "many"} {
		a.problem("GET", "/v1/pools/web/decisions?limit="+limit, "", 400, "bad-request")
	}
	a.problem("GET", "/v1/pools/zz/decisions", "", 404, "no-such-pool")
}
