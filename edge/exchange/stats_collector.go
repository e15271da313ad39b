package exchange

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// statsCollector collects the stats, and the vectors that count the same.
type statsCollector struct {
	deps                                                               *Deps
	visit                                                              func(func(*LoopStats)) // calls its argument with the stats of one loop after another
	requests, grpc, picks, inFlight, duration, firstByte, pickDuration *prometheus.Desc
	classes, tenants                                                   breakdownDescs
}

// NewStatsCollector returns the collector of an edge's stats. visit calls its argument with the stats of one
// loop after another; it may block.
func NewStatsCollector(d *Deps, visit func(func(*LoopStats))) *statsCollector {
	return &statsCollector{
		deps:         d,
		visit:        visit,
		requests:     descOf(d.Metrics.requests),
		grpc:         descOf(d.Metrics.grpc),
		picks:        descOf(d.Metrics.picks),
		inFlight:     prometheus.NewDesc("evenkeel_edge_in_flight", "Requests taken and not yet answered in full, and connections of TCP listeners.", byPool, nil),
		duration:     prometheus.NewDesc("evenkeel_edge_request_duration_seconds", "From a request's head to the end of its response.", byPool, nil),
		firstByte:    prometheus.NewDesc("evenkeel_edge_first_byte_seconds", "From a request's head to the head of its server's response.", byPool, nil),
		classes:      newBreakdownDescs("class"),
		tenants:      newBreakdownDescs("tenant"),
		pickDuration: prometheus.NewDesc("evenkeel_edge_pick_duration_seconds", "From an ask to its answer, waiting in the master's queue included. Of answers at once in one process, one in sixteen is timed if no log tells of each.", byPool, nil),
	}
}

func descOf(vector *prometheus.CounterVec) *prometheus.Desc {
	one := make(chan *prometheus.Desc, 1)
	vector.Describe(one)
	return <-one
}

// Describe implements prometheus.Collector.
func (c *statsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.grpc, c.picks, c.inFlight, c.duration, c.firstByte, c.pickDuration} {
		out <- d
	}
	c.classes.describe(out)
	c.tenants.describe(out)
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(out chan<- prometheus.Metric) {
	c.deps.Metrics.requests.Collect(out)
	c.deps.Metrics.grpc.Collect(out)
	c.deps.Metrics.picks.Collect(out)
	sums := c.deps.sumStats(c.visit)
	for _, p := range c.deps.Pools {
		name := p.Name
		t := &sums[p.number]
		out <- histogramMetric(c.duration, &t.duration, durationScale, name)
		out <- histogramMetric(c.firstByte, &t.firstByte, durationScale, name)
		out <- histogramMetric(c.pickDuration, &t.pickTime, pickScale, name)
		p.classes.collect(out, &c.classes, name)
		p.tenants.collect(out, &c.tenants, name)
		out <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(t.inFlight), name)
		out <- prometheus.MustNewConstMetric(c.picks, prometheus.CounterValue, float64(t.granted), name, "granted")
		for _, told := range t.codes {
			out <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(told.count), name, strconv.Itoa(told.code))
		}
		for _, told := range t.grpc {
			out <- prometheus.MustNewConstMetric(c.grpc, prometheus.CounterValue, float64(told.count), name, grpcLabel(told.code))
		}
	}
}
