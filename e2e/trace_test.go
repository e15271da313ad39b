package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// The span that a server gets as its parent leads to the decision.
func TestSpanLeadsToTheDecision(t *testing.T) {
	parents := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") }))
	t.Cleanup(server.Close)
	m := startMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: s1, address: %q}]}}", server.Listener.Addr()))
	edge := start(t, "edge", "--config", file(t, fmt.Sprintf("edge: {id: e1, trace: any, masters: [%q], listeners: [{listen: %q, routes: [{pool: web}]}]}", m.Addr("listen"), freeport.Address(t))), "--admin", "127.0.0.1:0")
	const trace = "0af7651916cd43dd8448eb211c80319c"
	if a := get(t, "http://"+edge.Addr("listen")+"/", "Traceparent", "00-"+trace+"-b7ad6b7169203331-01"); a.StatusCode != 200 {
		t.Fatalf("answered %s %s", a.Status, a.body)
	}
	told := strings.Split(<-parents, "-")
	if len(told) != 4 || told[1] != trace {
		t.Fatalf("the server was told %q", told)
	}
	out, err := exec.Command(binary, "explain", told[2], "--admin", m.url("")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "s1") {
		t.Errorf("explain %s: %v\n%s", told[2], err, out)
	}
}
