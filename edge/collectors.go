package edge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// registerBodies adds the metrics of request bodies that are read before a server is asked for.
func registerBodies(to *prometheus.Registry, b *limits.BodyMemory) {
	to.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_body_memory_bytes",
			Help: "Memory of request bodies that are read before a server is asked for."}, func() float64 { return float64(b.Used()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_bodies_waiting",
			Help: "Request bodies that wait unread because that memory is used up."}, func() float64 { return float64(b.Waits.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "evenkeel_edge_bodies_waited_total",
			Help: "Request bodies that have had to wait so."}, func() float64 { return float64(b.Total.Load()) }))
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

// masterConnected is the metric of whether a master is connected.
func masterConnected(connected func() bool) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_master_connected", Help: "1 while a master is connected."}, func() float64 {
		if connected() {
			return 1
		}
		return 0
	})
}

// lookups shows what came of looking names up here.
type lookups struct{ *resolve.Follower }

var nameLookups = prometheus.NewDesc("evenkeel_edge_name_lookups_total",
	"Look-ups of servers' names that are to be looked up at the edge, by result: good, or failed (no answer, or no such name).", []string{"result"}, nil)

func (l lookups) Describe(out chan<- *prometheus.Desc) { out <- nameLookups }

func (l lookups) Collect(out chan<- prometheus.Metric) {
	good, failed := l.Counts()
	out <- prometheus.MustNewConstMetric(nameLookups, prometheus.CounterValue, float64(good), "good")
	out <- prometheus.MustNewConstMetric(nameLookups, prometheus.CounterValue, float64(failed), "failed")
}
