package edge

import (
	"fmt"
	"strings"
	"testing"
	"time"
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

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, 25 * time.Microsecond, 25*time.Microsecond + 1, 75 * time.Microsecond, time.Hour} {
		h.observe(&pickScale, d)
	}
	if h.counts[0] != 2 || h.counts[1] != 2 || h.counts[len(pickScale.seconds)] != 1 {
		t.Errorf("counts %v, want two at the first bound, two at the second and one beyond all", h.counts)
	}
	if want := time.Hour + 125*time.Microsecond + 1; h.sum != want {
		t.Errorf("sum %v, want %v", h.sum, want)
	}
}
