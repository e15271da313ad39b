package exchange

import (
	"errors"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the edge's own, in a registry of their own.
type Metrics struct {
	Registry    *prometheus.Registry
	requests    *prometheus.CounterVec // of requests without a pool
	grpc        *prometheus.CounterVec // of gRPC requests without a pool
	picks       *prometheus.CounterVec // those that were not granted
	overflows   *prometheus.CounterVec
	retries     *prometheus.CounterVec
	resends     *prometheus.CounterVec
	fallbacks   *prometheus.CounterVec
	local       *prometheus.CounterVec
	badReports  *prometheus.CounterVec
	disbelieved *prometheus.CounterVec
	unreadable  *prometheus.CounterVec // facts
	unbuffered  *prometheus.CounterVec // facts
	tunnels     *prometheus.CounterVec
	tunnelBytes *prometheus.CounterVec
	tunnelTime  *prometheus.HistogramVec
	HeldBack    prometheus.Counter
	Limited     [clientLimitCount]prometheus.Counter
}

var byPool = []string{"pool"}

// newMetrics returns them without those of which PoolStats are kept.
func newMetrics() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_requests_total",
			Help: "Requests answered, by pool (empty: no route) and status; 499: the client left first."}, []string{"pool", "code"}),
		grpc: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_grpc_requests_total",
			Help: "Requests of gRPC answered, by pool (empty: no route) and grpc-status; none: the client was told none."}, []string{"pool", "grpc_status"}),
		picks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_picks_total",
			Help: "Asks, by pool and result: granted, canceled, no-master, or a refusal's reason."}, []string{"pool", "result"}),
		overflows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_overflows_total",
			Help: "Requests that a pool has sent on to another, where they would wait less."}, []string{"pool", "to"}),
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
	m.unreadable = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_facts_unreadable_total",
		Help: "Requests of which a fact could not be read where its route says that it is, by pool and fact: malformed, out of range, or its formula failed."}, []string{"pool", "fact"})
	m.unbuffered = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_facts_unbuffered_total",
		Help: "Requests of which a fact may be in a part of the body that is not read before the ask, by pool and fact."}, []string{"pool", "fact"})
	m.HeldBack = prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_edge_http2_held_back_total",
		Help: "Times that a client's HTTP/2 connection was read no further for a moment, because of too many frames that bring nothing."})
	m.Limited = limitedCounters(m.Registry)
	m.Registry.MustRegister(m.HeldBack, m.overflows, m.retries, m.resends, m.fallbacks, m.local, m.badReports, m.disbelieved, m.unreadable, m.unbuffered, m.tunnels, m.tunnelBytes, m.tunnelTime)
	return m
}

// unrouted counts a request for which there is no pool.
func (m *Metrics) unrouted(status int) { m.requests.WithLabelValues("", strconv.Itoa(status)).Inc() }

// grpcLabel is a gRPC status as a label has it.
func grpcLabel(code int) string {
	if code == grpcNone {
		return "none"
	}
	return strconv.Itoa(code)
}

// tunnel counts one that has ended.
func (m *Metrics) tunnel(pool, ended string, in, out int64, took time.Duration) {
	m.tunnels.WithLabelValues(pool, ended).Inc()
	m.tunnelBytes.WithLabelValues(pool, "in").Add(float64(in))
	m.tunnelBytes.WithLabelValues(pool, "out").Add(float64(out))
	m.tunnelTime.WithLabelValues(pool).Observe(took.Seconds())
}

// Refused counts a connection that was refused before it could ask for anything.
func (m *Metrics) Refused(why string) { m.tunnels.WithLabelValues("", why).Inc() }

// clientLimit is one of the limits, as a metric's label.
type clientLimit uint8

const (
	LimitConnections clientLimit = iota
	LimitOpenRequests
	LimitRequestRate
	clientLimitCount
)

var clientLimitNames = [clientLimitCount]string{"connections", "open_requests", "requests_per_second"}

// limitedCounters count what clients were refused because of their limits.
func limitedCounters(r *prometheus.Registry) (counters [clientLimitCount]prometheus.Counter) {
	all := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_edge_client_limited_total",
		Help: "Connections closed and requests answered 429 because their client had as many as client_limits allow, by limit."}, []string{"limit"})
	r.MustRegister(all)
	for i, name := range clientLimitNames {
		counters[i] = all.WithLabelValues(name)
	}
	return counters
}

// ConnRefused counts a connection that LimitConn refuses.
func (m *Metrics) ConnRefused(why error) {
	m.CountLimited(why)
	m.Refused(Refusal(why))
}

// CountLimited counts a connection that was refused because of its client's limits.
func (m *Metrics) CountLimited(why error) {
	if errors.Is(why, routing.ErrConnections) {
		m.Limited[LimitConnections].Inc()
	}
}
