package exchange

import (
	"github.com/prometheus/client_golang/prometheus"
)

// sharers tells, for each pool with a server that has a cap, how many edges share caps while no master answers, as far as this
// edge has been told.
type sharers struct{ deps *Deps }

// NewSharers returns the collector of what an edge's exchanges know.
func NewSharers(d *Deps) prometheus.Collector { return sharers{d} }

var sharersDesc = prometheus.NewDesc("evenkeel_edge_cap_sharers", "Edges that share the caps of the pool's servers while no master answers. Pools without caps have none.", []string{"pool"}, nil)

func (s sharers) Describe(ch chan<- *prometheus.Desc) { ch <- sharersDesc }

func (s sharers) Collect(ch chan<- prometheus.Metric) {
	if s.deps.snapshots == nil {
		return
	}
	for _, p := range s.deps.Pools {
		if snap := s.deps.snapshots.Snapshot(p.Name); snap != nil && len(snap.Sharers) > 0 {
			ch <- prometheus.MustNewConstMetric(sharersDesc, prometheus.GaugeValue, float64(len(snap.Sharers)), p.Name)
		}
	}
}
