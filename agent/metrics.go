package agent

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// metrics is what the agent tells of itself, and of its server, to Prometheus.
type metrics struct {
	registry *prometheus.Registry
	reports  prometheus.Counter
	failures *prometheus.CounterVec

	mu      sync.Mutex
	failing map[string]bool            // sources whose last reading had an error, and whether that is in the log
	logged  map[string]balance.Instant // when it was logged last that a source begins to fail
	agent   *Agent
	value   *prometheus.Desc
	age     *prometheus.Desc
	link    *prometheus.Desc
	healthy *prometheus.Desc
	verdict *prometheus.Desc
	over    *prometheus.Desc
	untold  *prometheus.Desc
	refused *prometheus.Desc
	ends    *prometheus.Desc
}

func newMetrics(a *Agent) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		reports:  prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_agent_reports_total", Help: "Reports sent."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_agent_source_failures_total", Help: "Readings of a source that failed, wholly or in part."}, []string{"source"}),
		failing:  make(map[string]bool),
		logged:   make(map[string]balance.Instant),
		agent:    a,
		value:    prometheus.NewDesc("evenkeel_agent_metric", "Last value known of a load metric.", []string{"name"}, nil),
		age:      prometheus.NewDesc("evenkeel_agent_metric_age_seconds", "Time since that value was read or pushed.", []string{"name"}, nil),
		link:     prometheus.NewDesc("evenkeel_agent_connected", "1 if connected to a master.", nil, nil),
		healthy:  prometheus.NewDesc("evenkeel_agent_server_healthy", "1 if the agent's check of its server passes; absent if it makes none.", nil, nil),
		verdict:  prometheus.NewDesc("evenkeel_agent_dispatches_total", "Dispatches, by what the application said.", []string{"verdict"}, nil),
		over:     prometheus.NewDesc("evenkeel_agent_lease_ends_total", "Leases of accepted dispatches that are over, by reason.", []string{"reason"}, nil),
		untold:   prometheus.NewDesc("evenkeel_agent_lease_ends_undelivered_total", "Ends of leases that the application's end_hook did not take.", nil, nil),
		ends:     prometheus.NewDesc("evenkeel_agent_certificate_expiry_timestamp_seconds", "When this agent's certificate comes to its end, in seconds since 1970. Absent without one.", nil, nil),
		refused:  prometheus.NewDesc("evenkeel_agent_masters_refused_total", "Masters refused for what they could not prove, or that refused this agent, by reason.", []string{"reason"}, nil),
	}
	m.registry.MustRegister(m.reports, m.failures, m)
	if dropped := a.cfg.LogDropped; dropped != nil {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: logs.DroppedMetric, Help: logs.DroppedHelp}, func() float64 { return float64(dropped()) }))
	}
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// turn is what a source's reading changes.
type turn uint8

const (
	goesOn turn = iota
	beginsToFail
	isWellAgain
)

// quiet is how long nothing is said of a source whose failing was logged.
const quiet = time.Minute

// judge counts a source's reading and returns what is to be logged of it.
func (m *metrics) judge(source string, now balance.Instant, fails bool) turn {
	m.mu.Lock()
	defer m.mu.Unlock()
	logged, failing := m.failing[source]
	switch {
	case fails && !failing && (m.logged[source] == 0 || now.Sub(m.logged[source]) >= quiet):
		m.failures.WithLabelValues(source).Inc()
		m.failing[source], m.logged[source] = true, now
		return beginsToFail
	case fails:
		m.failures.WithLabelValues(source).Inc()
		m.failing[source] = logged
	case failing:
		delete(m.failing, source)
		if logged {
			return isWellAgain
		}
	}
	return goesOn
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
	if a.cfg.Health.enabled() {
		healthy := 0.
		if a.problem.Load() == nil {
			healthy = 1
		}
		ch <- prometheus.MustNewConstMetric(m.healthy, prometheus.GaugeValue, healthy)
	}
	if g, ok := a.sender.(interface{ Refused() *trust.Tally }); ok {
		g.Refused().Each(func(reason string, n uint64) {
			ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(n), reason)
		})
	}
	if g, ok := a.sender.(interface{ CertificateEnds() float64 }); ok && g.CertificateEnds() > 0 {
		ch <- prometheus.MustNewConstMetric(m.ends, prometheus.GaugeValue, g.CertificateEnds())
	}
	if e := a.cfg.Ends; e != nil {
		counts, undelivered := e.counts()
		for reason, n := range counts {
			ch <- prometheus.MustNewConstMetric(m.over, prometheus.CounterValue, float64(n), reason)
		}
		ch <- prometheus.MustNewConstMetric(m.untold, prometheus.CounterValue, float64(undelivered))
	}
	if h := a.cfg.Hook; h != nil {
		ch <- prometheus.MustNewConstMetric(m.verdict, prometheus.CounterValue, float64(h.accepted.Load()), "accepted")
		ch <- prometheus.MustNewConstMetric(m.verdict, prometheus.CounterValue, float64(h.refused.Load()), "refused")
	}
}
