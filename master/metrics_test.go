package master

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestMetrics(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	r.dialAgent("s1").send(&wire.Reports{Reports: []wire.PoolReport{
		{Pool: "web", Report: balance.Report{Server: "s1", Metrics: []balance.Metric{{Name: balance.ApplicationUtilization, Value: .75}, {Name: balance.CPUUtilization, Value: .5}}}},
		{Pool: "web", Report: balance.Report{Server: "a"}}}})
	eventually(t, "the report is in", func() bool { return len(r.view("s1").Metrics) == 2 })
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "nowhere"})
	server := e.granted().Grant.Server
	e.refused()
	if _, err := r.Edge("").Pick(context.Background(), "nowhere", &balance.Request{}); err == nil {
		t.Fatal("a pool that does not exist granted a server")
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`evenkeel_picks_total{pool="web",verdict="granted"} 1`,
		`evenkeel_picks_total{pool="",verdict="unknown-pool"} 2`,
		`evenkeel_pick_duration_seconds_count{pool="web"} 1`,
		`evenkeel_leases_open{pool="web"} 1`,
		`evenkeel_reports_total{pool="web",result="kept",source="agent"} 1`,
		`evenkeel_reports_total{pool="web",result="foreign",source="agent"} 1`,
		`evenkeel_connections{role="edge"} 1`,
		`evenkeel_connections{role="agent"} 1`,
		`evenkeel_server_in_flight{pool="web",server="` + string(server) + `"} 1`,
		`evenkeel_server_utilization_ratio{pool="web",server="s1"} 0.75`,
		`evenkeel_build_info{`, `go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(w.Body.String(), "\n"+want) {
			t.Errorf("/metrics has no line that begins with %s", want)
		}
	}
	problems, err := testutil.CollectAndLint(collector{r.Master})
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[prometheus.ValueType]string{counter: "counter", gauge: "gauge"}
	for _, f := range families {
		_, name, _ := strings.Cut(f.desc.String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		kind := kinds[f.kind]
		if f == pickSeconds || f == queueSeconds {
			kind = "histogram"
		}
		if !strings.Contains(string(page), "| `"+name+"` | "+kind+" |") {
			t.Errorf("docs/metrics.md does not tell of the %s %s", kind, name)
		}
	}
}
