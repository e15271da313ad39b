package edge

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the edge's own, in a registry of their own.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec // those without a pool, which no tally counts
	picks      *prometheus.CounterVec // those that were not granted
	retries    *prometheus.CounterVec
	fallbacks  *prometheus.CounterVec
	badReports *prometheus.CounterVec
	tunnels    *prometheus.CounterVec
	octets     *prometheus.CounterVec
	tunnelTime *prometheus.HistogramVec
	heldBack   prometheus.Counter
}

var byPool = []string{"pool"}

// newMetrics returns them without those of which tallies are kept.
func newMetrics(connected func() bool) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_requests_total",
			Help: "Requests answered, by pool (empty: no route) and status; 499: the client left first."}, []string{"pool", "code"}),
		picks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_picks_total",
			Help: "Asks, by pool and result: granted, canceled, no-master, or a refusal's reason."}, []string{"pool", "result"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_retries_total",
			Help: "Requests tried at another server."}, byPool),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_fallbacks_total",
			Help: "Servers chosen from the last snapshot because no master answered."}, byPool),
		badReports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_bad_reports_total",
			Help: "Load reports in responses that made no sense, wholly or in part."}, byPool),
		tunnels: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_connections_total",
			Help: "Connections of TCP listeners that have ended, by pool (empty: no route) and how: a result, or why they were refused; and those of HTTP listeners refused before a request."}, []string{"pool", "ended"}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_connection_bytes_total",
			Help: "Octets carried by connections of TCP listeners that have ended, in from clients and out to them."}, []string{"pool", "direction"}),
		tunnelTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "evenkeel_edge_connection_duration_seconds",
			Help: "How long connections of TCP listeners lasted.", Buckets: prometheus.ExponentialBuckets(.001, 6, 11)}, byPool),
	}
	m.heldBack = prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_edge_http2_held_back_total",
		Help: "Times that a client's HTTP/2 connection was read no further for a moment, because of too many frames that bring nothing."})
	m.registry.MustRegister(m.heldBack, m.retries, m.fallbacks, m.badReports, m.tunnels, m.octets, m.tunnelTime,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_master_connected", Help: "1 while a master is connected."},
			func() float64 {
				if connected() {
					return 1
				}
				return 0
			}))
	return m
}

// unrouted counts a request for which there is no pool.
func (m *metrics) unrouted(status int) { m.requests.WithLabelValues("", strconv.Itoa(status)).Inc() }

// tunnel counts one that has ended.
func (m *metrics) tunnel(pool, ended string, in, out int64, took time.Duration) {
	m.tunnels.WithLabelValues(pool, ended).Inc()
	m.octets.WithLabelValues(pool, "in").Add(float64(in))
	m.octets.WithLabelValues(pool, "out").Add(float64(out))
	m.tunnelTime.WithLabelValues(pool).Observe(took.Seconds())
}

// refused counts a connection that was refused before it could ask for anything.
func (m *metrics) refused(why string) { m.tunnels.WithLabelValues("", why).Inc() }
