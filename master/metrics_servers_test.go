package master

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// large returns a master with so many servers, each with a report.
func large(t testing.TB, servers int) *Master {
	cfg := PoolConfig{Name: "web"}
	for i := range servers {
		cfg.Servers = append(cfg.Servers, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("server-", i)), Address: "10.0.0.1:80"})
	}
	m, err := New(Config{Seed: 1, Pools: []PoolConfig{cfg}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Servers {
		m.Edge("e").Report("web", balance.Report{Server: cfg.Servers[i].ID, Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}, {Name: "named_metrics.x", Value: 1}}})
	}
	return m
}

func TestMetricsOfServersAreWhole(t *testing.T) {
	const servers = 2*chunk + 1
	m := large(t, servers)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	r.Header.Set("Accept-Encoding", "gzip")
	m.Handler().ServeHTTP(w, r)
	text := w.Body.String()
	for _, family := range serverFamilies {
		if n := strings.Count(text, "\n"+family.name+"{"); n != servers {
			t.Errorf("%d of %s, want one for each of %d servers", n, family.name, servers)
		}
	}
	if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("content type %q", kind)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "evenkeel_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	m, err := New(Config{Seed: 1, Pools: []PoolConfig{{Name: "web", Servers: []balance.ServerSpec{{ID: `a"b\c`, Address: "10.0.0.1:80"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	m.writeServers(&out)
	if want := `evenkeel_server_up{pool="web",server="a\"b\\c"} 1` + "\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no line %q in\n%s", want, out.String())
	}
}

func BenchmarkMetrics(b *testing.B) {
	m := large(b, 10_000)
	for b.Loop() {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	}
}
