package edge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// authPicker is a Picker that proves to masters who it is, and has them prove it.
type authPicker interface {
	Refused() *trust.Tally
	CertificateEnds() float64 // in seconds since 1970; zero: there is none
}

// refusalCollector shows what came of that.
type refusalCollector struct{ authPicker }

var certificateEnds = prometheus.NewDesc("evenkeel_edge_certificate_expiry_timestamp_seconds",
	"When this edge's certificate comes to its end, in seconds since 1970. Absent without one.", nil, nil)

var mastersRefused = prometheus.NewDesc("evenkeel_edge_masters_refused_total",
	"Masters refused for what they could not prove, or that refused this edge, by reason.", []string{"reason"}, nil)

func (r refusalCollector) Describe(out chan<- *prometheus.Desc) {
	out <- mastersRefused
	out <- certificateEnds
}

func (r refusalCollector) Collect(out chan<- prometheus.Metric) {
	if ends := r.CertificateEnds(); ends > 0 {
		out <- prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, ends)
	}
	r.Refused().Each(func(reason string, n uint64) {
		out <- prometheus.MustNewConstMetric(mastersRefused, prometheus.CounterValue, float64(n), reason)
	})
}
