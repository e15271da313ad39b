package agent

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// metrics is what the agent tells of itself, and of its server, to Prometheus.
type metrics struct {
	registry *prometheus.Registry
	reports  prometheus.Counter
	failures *prometheus.CounterVec

	mu      sync.Mutex
	failed  map[string]bool // sources whose last reading had an error
	agent   *Agent
	value   *prometheus.Desc
	age     *prometheus.Desc
	link    *prometheus.Desc
	verdict *prometheus.Desc
	refused *prometheus.Desc
}

func newMetrics(a *Agent) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		reports:  prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_agent_reports_total", Help: "Reports sent."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_agent_source_failures_total", Help: "Readings of a source that failed, wholly or in part."}, []string{"source"}),
		failed:   make(map[string]bool),
		agent:    a,
		value:    prometheus.NewDesc("evenkeel_agent_metric", "Last value known of a load metric.", []string{"name"}, nil),
		age:      prometheus.NewDesc("evenkeel_agent_metric_age_seconds", "Time since that value was read or pushed.", []string{"name"}, nil),
		link:     prometheus.NewDesc("evenkeel_agent_connected", "1 if connected to a master.", nil, nil),
		verdict:  prometheus.NewDesc("evenkeel_agent_dispatches_total", "Dispatches, by what the application said.", []string{"verdict"}, nil),
		refused:  prometheus.NewDesc("evenkeel_agent_masters_refused_total", "Masters refused for what they could not prove, or that refused this agent, by reason.", []string{"reason"}, nil),
	}
	m.registry.MustRegister(m.reports, m.failures, m)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// failing notes whether a source's reading has failed, and returns whether the one before had.
func (m *metrics) failing(source string, fails bool) (was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was = m.failed[source]
	m.failed[source] = fails
	if fails {
		m.failures.WithLabelValues(source).Inc()
	}
	return was
}

// Describe sends nothing: which metrics there are depends on the application.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends what is on the board now.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	a, now := m.agent, clock.Now()
	a.mu.Lock()
	readings := append([]reading(nil), a.board.readings...)
	a.mu.Unlock()
	for _, r := range readings {
		ch <- prometheus.MustNewConstMetric(m.value, prometheus.GaugeValue, r.Value, r.Name)
		ch <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, now.Sub(r.at).Seconds(), r.Name)
	}
	connected := 0.
	if a.sender.Connected() {
		connected = 1
	}
	ch <- prometheus.MustNewConstMetric(m.link, prometheus.GaugeValue, connected)
	if g, ok := a.sender.(interface{ Refused() *trust.Tally }); ok {
		g.Refused().Each(func(reason string, n uint64) {
			ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(n), reason)
		})
	}
	if h := a.cfg.Hook; h != nil {
		ch <- prometheus.MustNewConstMetric(m.verdict, prometheus.CounterValue, float64(h.accepted.Load()), "accepted")
		ch <- prometheus.MustNewConstMetric(m.verdict, prometheus.CounterValue, float64(h.refused.Load()), "refused")
	}
}
