package master

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// What contradicts itself is kept, told to the reporter, and stands in the API.
func TestContradictionsAreTold(t *testing.T) {
	r := start(t, web("a"))
	p := r.Master.poolNamed("web")
	p.mu.Lock()
	now, told := clock.Now(), 0
	for range 300 {
		g, err := p.core.Pick(now, &balance.Request{Edge: "e"})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(50 * time.Millisecond)
		p.core.Done(now, g.Lease, balance.Outcome{Duration: 50 * time.Millisecond})
		err = p.storeReportLocked(now, &balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: 1e6}}}, fromAgent)
		if err != nil {
			if told++; !errors.As(err, new(*balance.Contradiction)) || !strings.Contains(err.Error(), "requests of others") {
				t.Fatalf("got %v, want the contradiction", err)
			}
		}
	}
	counts := p.stats.reports[fromAgent]
	p.mu.Unlock()
	if told != 1 || counts[reportKept] != 300 || counts[reportFlawed] != 0 {
		t.Errorf("told of it %d times, %d reports kept and %d flawed; want once, 300 and none", told, counts[reportKept], counts[reportFlawed])
	}
	a := newAPI(t, r.Master)
	_, pool, _ := a.call("GET", "/v1/pools/web", "")
	if doubt, _ := pool["servers"].([]any)[0].(map[string]any)["doubt"].(string); !strings.Contains(doubt, "requests of others") {
		t.Errorf("the pool's server has the doubt %q", doubt)
	}
	_, d, _ := a.call("POST", "/v1/pools/web/explain", "{}")
	if doubt, _ := candidate(d, 0)["doubt"].(string); !strings.Contains(doubt, "requests of others") {
		t.Errorf("the explanation has the doubt %q", doubt)
	}
}
