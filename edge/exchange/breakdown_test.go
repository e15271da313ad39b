package exchange

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// breakdownCollector shows a breakdown of one pool.
type breakdownCollector struct {
	*breakdown
	descs breakdownDescs
}

func (c breakdownCollector) Describe(out chan<- *prometheus.Desc) { c.descs.describe(out) }
func (c breakdownCollector) Collect(out chan<- prometheus.Metric) { c.collect(out, &c.descs, "web") }

// shown returns the counts of all series, by metric, name and hundreds of the status.
func (b *breakdown) shown(t *testing.T) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(breakdownCollector{b, newBreakdownDescs("tenant")})
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range all {
		for _, m := range f.Metric {
			name := ""
			for _, l := range m.Label {
				if l.GetName() != "pool" {
					name = l.GetValue() + " " + name
				}
			}
			got[f.GetName()+" "+name] += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// Names that clients choose take a bounded number of places. One that has not come for an hour makes room.
func TestBreakdownsAreBounded(t *testing.T) {
	var b breakdown
	now := balance.Instant(1)
	if got := b.shown(t); len(got) != 0 {
		t.Errorf("nothing has come, and %v is shown", got)
	}
	b.count(now, "acme", 200, time.Second, time.Millisecond)
	b.count(now, "acme", 503, time.Second, 0)
	b.count(now, "acme", 999, time.Second, 0)
	b.count(now, "bad\xff", 0, time.Second, 0)
	for i := range namedMost {
		now++
		b.count(now, fmt.Sprint("t", i), 200, time.Second, 0)
	}
	b.count(now, namesBeyond, 200, time.Second, 0)
	const prefix = "evenkeel_edge_tenant_"
	got := b.shown(t)
	for series, want := range map[string]float64{"requests_total acme 2xx ": 1, "requests_total acme 5xx ": 2, "request_duration_seconds acme ": 3, "first_byte_seconds acme ": 1, "requests_total bad? 0xx ": 1, "requests_total t17 2xx ": 1, "requests_total t18 2xx ": 0, "requests_total other 2xx ": 3} {
		if got[prefix+series] != want {
			t.Errorf("%s is %v, want %v", series, got[prefix+series], want)
		}
	}
	if len(b.by) != namedMost {
		t.Errorf("%d names, want %d", len(b.by), namedMost)
	}
	now += balance.Instant(namedIdle)
	b.count(now, "late", 200, time.Second, 0)
	if b.by["late"] == nil || b.by["t17"] == nil || len(b.by) != namedMost || b.by["acme"] != nil && b.by["bad\xff"] != nil {
		t.Errorf("after an hour: %d names, late %v", len(b.by), b.by["late"])
	}
}

func TestBreakdownAllocatesNothing(t *testing.T) {
	var b breakdown
	b.count(1, "acme", 200, time.Second, time.Second)
	if n := testing.AllocsPerRun(100, func() { b.count(2, "acme", 200, time.Second, time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
