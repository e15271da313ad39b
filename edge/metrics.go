package edge

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// metrics are the edge's own, in a registry of their own.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec // of requests without a pool
	grpc        *prometheus.CounterVec // of a frame buffer
	picks       *prometheus.CounterVec // those that were not granted
	retries     *prometheus.CounterVec
	resends     *prometheus.CounterVec
	fallbacks   *prometheus.CounterVec
	local       *prometheus.CounterVec
	badReports  *prometheus.CounterVec
	disbelieved *prometheus.CounterVec
	tunnels     *prometheus.CounterVec
	tunnelBytes *prometheus.CounterVec
	tunnelTime  *prometheus.HistogramVec
	heldBack    prometheus.Counter
	limited     [clientLimitCount]prometheus.Counter
}

var byPool = []string{"pool"}

// newMetrics returns them without those of which tallies are kept.
func newMetrics(connected func() bool) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_requests_total",
			Help: "Requests answered, by pool (empty: no route) and status; 499: the client left first."}, []string{"pool", "code"}),
		grpc: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_grpc_requests_total",
			Help: "Requests of gRPC answered, by pool (empty: no route) and grpc-status; none: the client was told none."}, []string{"pool", "grpc_status"}),
		picks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_picks_total",
			Help: "Asks, by pool and result: granted, canceled, no-master, or a refusal's reason."}, []string{"pool", "result"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_retries_total",
			Help: "Requests tried at another server."}, byPool),
		resends: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_resends_total",
			Help: "Requests sent again because their server had closed the connection, or refused the stream, before it took them."}, byPool),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_fallbacks_total",
			Help: "Servers chosen from the last snapshot because no master answered."}, byPool),
		local: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_local_choices_total",
			Help: "Servers chosen by the edge itself because asking takes longer than it wins; the master is told afterwards."}, byPool),
		badReports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_bad_reports_total",
			Help: "Load reports in responses that made no sense, wholly or in part."}, byPool),
		disbelieved: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_tenants_disbelieved_total",
			Help: "Requests whose tenant had to be proven and was not."}, byPool),
		tunnels: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_connections_total",
			Help: "Connections of TCP listeners that have ended, by pool (empty: no route) and how: a result, or why they were refused; and those of HTTP listeners refused before a request."}, []string{"pool", "ended"}),
		tunnelBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_connection_bytes_total",
			Help: "Bytes carried by connections of TCP listeners that have ended, in from clients and out to them."}, []string{"pool", "direction"}),
		tunnelTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "evenkeel_edge_connection_duration_seconds",
			Help: "How long connections of TCP listeners lasted.", Buckets: prometheus.ExponentialBuckets(.001, 6, 11)}, byPool),
	}
	m.heldBack = prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_edge_http2_held_back_total",
		Help: "Times that a client's HTTP/2 connection was read no further for a moment, because of too many frames that bring nothing."})
	m.limited = limitedCounters(m.registry)
	m.registry.MustRegister(m.heldBack, m.retries, m.resends, m.fallbacks, m.local, m.badReports, m.disbelieved, m.tunnels, m.tunnelBytes, m.tunnelTime,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_master_connected", Help: "1 while a master is connected."},
			func() float64 {
				if connected() {
					return 1
				}
				return 0
			}))
	return m
}

// bodies adds the metrics of request bodies that are read before a server is asked for.
func (m *metrics) bodies(b *bodyMemory) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_body_memory_bytes",
			Help: "Memory of request bodies that are read before a server is asked for."}, func() float64 { return float64(b.used()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_bodies_waiting",
			Help: "Request bodies that wait unread because that memory is used up."}, func() float64 { return float64(b.waits.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "evenkeel_edge_bodies_waited_total",
			Help: "Request bodies that have had to wait so."}, func() float64 { return float64(b.total.Load()) }))
}

// logDropped counts what the log could not take.
func logDropped(lines func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: logs.DroppedMetric, Help: logs.DroppedHelp}, func() float64 { return float64(lines()) })
}

// reloadGood is the metric of whether the last reload was good.
func reloadGood(failed func() string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_last_reload_successful", Help: "1 if the last reload of the file was good, or there was none; 0 if it failed and the settings of before stay."}, func() float64 {
		if failed() == "" {
			return 1
		}
		return 0
	})
}

// unrouted counts a request for which there is no pool.
func (m *metrics) unrouted(status int) { m.requests.WithLabelValues("", strconv.Itoa(status)).Inc() }

// grpcLabel is a gRPC status as a label has it.
func grpcLabel(code int) string {
	if code == grpcNone {
		return "none"
	}
	return strconv.Itoa(code)
}

// tunnel counts one that has ended.
func (m *metrics) tunnel(pool, ended string, in, out int64, took time.Duration) {
	m.tunnels.WithLabelValues(pool, ended).Inc()
	m.tunnelBytes.WithLabelValues(pool, "in").Add(float64(in))
	m.tunnelBytes.WithLabelValues(pool, "out").Add(float64(out))
	m.tunnelTime.WithLabelValues(pool).Observe(took.Seconds())
}

// refused counts a connection that was refused before it could ask for anything.
func (m *metrics) refused(why string) { m.tunnels.WithLabelValues("", why).Inc() }
