package balance

import (
	"fmt"
	"math"
	"time"
)

// Names of the metrics that the core itself understands. They are ORCA's
// (xds.data.orca.v3.OrcaLoadReport), without units where ORCA has none; anything
// else is kept, shown and open to a pool's own formula.
const (
	CPUUtilization         = "cpu_utilization"         // fraction of the CPU available to the server; may exceed 1
	MemUtilization         = "mem_utilization"         // fraction of memory, 0 to 1
	ApplicationUtilization = "application_utilization" // how full the application says it is; may exceed 1
	RPS                    = "rps_fractional"          // requests a second, of everybody
	EPS                    = "eps"                     // errors a second, of everybody
	InFlight               = "named_metrics.in_flight" // requests being worked on or waiting at the server, of everybody
	QueueDepth             = "named_metrics.queue"     // requests waiting at the server, if InFlight does not count them
)

// MaxMetrics is how many metrics one report may carry and one server may have.
const MaxMetrics = 64

// MaxMetricName is the longest name of a metric, in bytes.
const MaxMetricName = 128

// Metric is one named load figure.
type Metric struct {
	Name  string
	Value float64
}

// Report is what is known of one server's load at one time.
type Report struct {
	Server  ServerID
	Age     time.Duration // how old the figures are on arrival
	Metrics []Metric
}

// Sane splits a report's metrics into those that can be believed, clamped where
// their meaning sets a bound, and an error that names the others. A figure that is
// NaN, infinite, negative or beyond 1e15 is not clamped but dropped: whoever sends
// it is broken, and any number in its stead would be ours, not the server's.
func (r *Report) Sane(keep []Metric) ([]Metric, error) {
	var bad error
	for i, m := range r.Metrics {
		if problem := impossible(m); problem != "" {
			bad = fmt.Errorf("report from server %s: metric %q: %s", r.Server, clip(m.Name), problem)
			continue
		}
		if i >= MaxMetrics {
			return keep, fmt.Errorf("report from server %s: %d metrics, at most %d are kept", r.Server, len(r.Metrics), MaxMetrics)
		}
		if m.Name == MemUtilization {
			m.Value = min(m.Value, 1)
		}
		keep = append(keep, m)
	}
	return keep, bad
}

func impossible(m Metric) string {
	switch {
	case m.Name == "":
		return "has no name"
	case len(m.Name) > MaxMetricName:
		return fmt.Sprintf("name of %d bytes, at most %d", len(m.Name), MaxMetricName)
	case math.IsNaN(m.Value), math.IsInf(m.Value, 0):
		return fmt.Sprintf("%v is not a number", m.Value)
	case m.Value < 0:
		return fmt.Sprintf("%v is negative", m.Value)
	case m.Value > 1e15:
		return fmt.Sprintf("%v is beyond 1e15", m.Value)
	}
	return ""
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
