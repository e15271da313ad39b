package master

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

func TestStatusAndAMetricTellOfAFailedReload(t *testing.T) {
	why := ""
	cfg := web("a")
	cfg.ReloadFailed = func() string { return why }
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	for _, why = range []string{"", "x.yaml:1:1: bad", ""} {
		_, s, _ := a.call("GET", "/v1/status", "")
		problems, want := s["problems"].([]any), map[bool]string{true: "evenkeel_last_reload_successful 1\n", false: "evenkeel_last_reload_successful 0\n"}[why == ""]
		if why == "" && len(problems) != 0 || why != "" && (len(problems) != 1 || !strings.HasSuffix(problems[0].(string), why)) {
			t.Errorf("after %q: got %v", why, problems)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("after %q: the metrics have no %s", why, want)
		}
	}
}

func TestStatusAndExplainTellOfRefusals(t *testing.T) {
	r := start(t, narrow(0))
	a := newAPI(t, r.Master)
	e := r.Edge("e1")
	if _, err := e.Pick(context.Background(), "web", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	_, s, _ := a.call("GET", "/v1/status", "")
	if problems := s["problems"].([]any); len(problems) != 0 {
		t.Errorf("got %v, want no problems yet", problems)
	}
	for range 2 {
		if _, err := e.Pick(context.Background(), "web", &balance.Request{ID: balance.HashID("cefdc3af94c4644e7eb6036d48ce5f30"), Deadline: clock.Now().Add(time.Millisecond)}); err == nil {
			t.Fatal("granted, want a refusal: the only slot is taken")
		}
	}
	_, s, _ = a.call("GET", "/v1/status", "")
	if problems := s["problems"].([]any); len(problems) != 1 || !strings.HasPrefix(problems[0].(string), "pool web refused 2 of 3 requests in the last minute: full") {
		t.Errorf("got %v, want that 2 of 3 requests were refused", problems)
	}
	status, told, _ := a.call("GET", "/v1/requests/cefdc3af94c4644e7eb6036d48ce5f30", "")
	refusals, _ := told["refusals"].([]any)
	if status != 200 || len(refusals) != 2 || refusals[0].(map[string]any)["reason"] != "shed" || !strings.HasPrefix(refusals[0].(map[string]any)["detail"].(string), "pool web: ") {
		t.Errorf("got %d %v, want how the request was refused", status, told)
	}
	if _, told, _ := a.call("GET", "/v1/pools/web/servers/a/explain", ""); told["refused"] != 2. || told["won"] != 1. || told["over_s"].(float64) > 50 {
		t.Errorf("got %v, want 1 won, 2 refused, and no more time than the pool has lived", told)
	}
	if status, told, _ := a.call("GET", "/v1/requests/unheard-of", ""); status != 404 || !strings.Contains(told["detail"].(string), "not among the recent decisions and refusals") {
		t.Errorf("got %d %v, want 404 and what that means", status, told)
	}
}

func TestStatusByAPI(t *testing.T) {
	r := start(t, Config{ID: "m1", Version: "v9", Pools: []PoolConfig{web("a", "b", "c").Pools[0], {Name: "empty"}}})
	a := newAPI(t, r.Master)
	e := r.Edge("e1")
	for range 4 {
		g, err := e.Pick(context.Background(), "web", &balance.Request{Exclude: []balance.ServerID{"b", "c"}})
		if err != nil || g.Server != "a" {
			t.Fatalf("got %+v, %v, want a", g, err)
		}
		e.Done("web", g.Lease, balance.Outcome{Result: balance.OK, Duration: 40 * time.Millisecond})
	}
	for range 10 {
		g, err := e.Pick(context.Background(), "web", &balance.Request{Exclude: []balance.ServerID{"a", "c"}})
		if err != nil {
			break // it is ejected by now
		}
		e.Done("web", g.Lease, balance.Outcome{Result: balance.Fault})
	}
	e.Report("web", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: 0}}})

	status, s, _ := a.call("GET", "/v1/status", "")
	master := s["master"].(map[string]any)
	if status != 200 || master["id"] != "m1" || master["version"] != "v9" {
		t.Fatalf("got %d %v, want m1, v9", status, master)
	}
	pools := s["pools"].([]any)
	servers := pools[1].(map[string]any)["servers"].([]any)
	if len(pools) != 2 || len(servers) != 3 {
		t.Fatalf("got %v, want pools empty and web, with 3 servers", pools)
	}
	sa, sb, sc := servers[0].(map[string]any), servers[1].(map[string]any), servers[2].(map[string]any)
	if p50, _ := sa["p50_ms"].(float64); sa["state"] != "up" || p50 < 33 || p50 > 48 || sa["requests_per_s"].(float64) <= 0 || sa["failures"] != 0. || sa["report_age_ms"] == nil {
		t.Errorf("got %v, want a up, with a p50 of about 40 ms, a rate, no failures and a report", sa)
	}
	if sb["state"] != "ejected" || sb["failures"] != 1. || sb["p50_ms"] != nil {
		t.Errorf("got %v, want b ejected, all its requests failed, and no latency", sb)
	}
	outage := sb["outages"].([]any)[0].(map[string]any)
	if outage["reason"] != "ejected" || outage["by"] != "edge e1" || outage["error"] != "fault" || outage["next"] == "" || !strings.HasPrefix(sb["why"].(string), "ejected since ") {
		t.Errorf("got %v, want that b is ejected by edge e1 for faults, and when it is tried next", sb)
	}
	if sc["requests_per_s"] != 0. || sc["p99_ms"] != nil || sc["report_age_ms"] != nil {
		t.Errorf("got %v, want nothing of c", sc)
	}
	problems := ""
	for _, p := range s["problems"].([]any) {
		problems += p.(string) + "\n"
	}
	if !strings.HasPrefix(problems, "pool empty has no servers\nserver b of pool web: ejected since ") {
		t.Errorf("problems: %q", problems)
	}
}
