package master

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A server that goes out is told in one line of the log and one when it is back, by the API
// with its cause, and by the metric as long as it lasts.
func TestWhoIsOutIsTold(t *testing.T) {
	cfg, log := web("a", "b", "c"), &journal{}
	cfg.Log = log.log()
	r := start(t, cfg)
	a := newAPI(t, r.Master)
	e := r.Edge("e1")
	fail := func() bool { // b once
		g, err := e.Pick(context.Background(), "web", &balance.Request{Exclude: []balance.ServerID{"a", "c"}})
		if err == nil {
			e.Done("web", g.Lease, balance.Outcome{Result: balance.Broken, Error: "reset by peer"})
		}
		return err == nil
	}
	for range 5 {
		fail()
	}
	if status, _, _ := a.call("POST", "/v1/pools/web/servers/c/drain", ""); status != 200 {
		t.Fatalf("drain: got %d", status)
	}
	eventually(t, "both are told to be out", func() bool { return strings.Count(log.String(), `msg="server is out"`) >= 2 })
	for _, want := range []string{
		`level=WARN msg="server is out" pool=web server=b reason=ejected since_s=`, `by="edge e1" what="it failed several times in a row" err="reset by peer" next="in `,
		`level=INFO msg="server is out" pool=web server=c reason=draining since_s=`, `by="an operator" next="until it is undrained"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
	metrics := func() string {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	if text := metrics(); !strings.Contains(text, `evenkeel_server_out{pool="web",server="b",reason="ejected"} 1`+"\n") ||
		!strings.Contains(text, `evenkeel_server_out{pool="web",server="c",reason="draining"} 1`+"\n") || strings.Count(text, "\nevenkeel_server_out{") != 2 {
		t.Errorf("the metrics are not b ejected and c draining:\n%s", text)
	}
	if status, p, _ := a.call("GET", "/v1/pools/web", ""); status != 200 || p["servers"].([]any)[1].(map[string]any)["outages"].([]any)[0].(map[string]any)["error"] != "reset by peer" {
		t.Errorf("got %d %v, want b's last error", status, p)
	}
	if status, _, _ := a.call("POST", "/v1/pools/web/servers/c/undrain", ""); status != 200 {
		t.Fatalf("undrain: got %d", status)
	}
	eventually(t, "c is told to be back", func() bool {
		return strings.Contains(log.String(), `level=INFO msg="server is back in" pool=web server=c was=draining out_s=`)
	})
	if strings.Contains(metrics(), `server="c",reason="draining"`) {
		t.Error("the metric says that c is still draining")
	}
	if n := strings.Count(log.String(), "server is out"); n != 2 {
		t.Errorf("%d lines of servers that are out, want 2:\n%s", n, log.String())
	}
}
