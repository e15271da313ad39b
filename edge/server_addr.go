package edge

import (
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// This file decides where to connect to a granted server. Connections are kept by that address, so those to a
// name's earlier address are not used again: they end when they have been idle for long enough.

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

// nameUnused is how long a name is looked up that no request needs any more.
const nameUnused = 10 * time.Minute

// certName returns the name that a server's certificate must have by default: its address's host.
func certName(address string) string {
	_, hostPort := balance.SplitAddress(address)
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return hostPort
}
