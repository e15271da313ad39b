package edge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// guarded is a Picker that proves to masters who it is, and has them prove it.
type guarded interface{ Refused() *trust.Tally }

// refusals shows what came of that.
type refusals struct{ *trust.Tally }

var mastersRefused = prometheus.NewDesc("evenkeel_edge_masters_refused_total",
	"Masters refused for what they could not prove, or that refused this edge, by reason.", []string{"reason"}, nil)

func (r refusals) Describe(out chan<- *prometheus.Desc) { out <- mastersRefused }

func (r refusals) Collect(out chan<- prometheus.Metric) {
	r.Each(func(reason string, n uint64) {
		out <- prometheus.MustNewConstMetric(mastersRefused, prometheus.CounterValue, float64(n), reason)
	})
}
