package edge

import (
	"fmt"
	"strings"
	"testing"
)

// A loop's tallies can be read while it serves, and nothing is lost with the loop.
func TestLoopsTallies(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) { c.Loops = 2 })
	counted := func(n int) {
		t.Helper()
		page := metricsPage(t, r.Edge)
		for _, want := range []string{`requests_total{code="200",pool="web"}`, `picks_total{pool="web",result="granted"}`,
			`request_duration_seconds_count{pool="web"}`, `request_duration_seconds_bucket{pool="web",le="+Inf"}`, `pick_duration_seconds_count{pool="web"}`} {
			if want := fmt.Sprintf("evenkeel_edge_%s %d\n", want, n); !strings.Contains(page, want) {
				t.Errorf("after %d requests the metrics lack %s", n, want)
			}
		}
		if !strings.Contains(page, `evenkeel_edge_in_flight{pool="web"} 0`+"\n") {
			t.Errorf("after %d requests some are in flight", n)
		}
	}
	for n := range 3 {
		r.do(r.request("GET", "/", ""))
		counted(n + 1)
	}
	r.stop()
	<-r.stopped
	counted(3)
}
