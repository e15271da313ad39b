package exchange

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/histogram"
)

// breakdown counts the requests of a pool by a name that clients may choose, such as the class or the tenant: each of a bounded number of
// names apart, and all others together. Its methods are safe for concurrent use.
type breakdown struct {
	mu   sync.Mutex // held over memory work only
	by   map[string]*named
	rest named
}

// named is what is counted under one name.
type named struct {
	last      balance.Instant // when it counted last
	statuses  [6]uint64       // by the hundreds of the status
	duration  histogram.Histogram
	firstByte histogram.Histogram
}

const (
	namedMost   = 20        // names of a pool that are counted apart
	namedIdle   = time.Hour // after which a name may lose its place to another
	namesBeyond = "other"   // the label of all others
)

// count counts a finished request under a name. firstByte is zero if no server has answered.
func (b *breakdown) count(now balance.Instant, name string, status int, took, firstByte time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.placeLocked(now, name)
	n.last = now
	n.statuses[min(status/100, len(n.statuses)-1)]++
	n.duration.Observe(durationScale, took, 1)
	if firstByte > 0 {
		n.firstByte.Observe(durationScale, firstByte, 1)
	}
}

// placeLocked returns where a name counts.
func (b *breakdown) placeLocked(now balance.Instant, name string) *named {
	if n := b.by[name]; n != nil {
		return n
	}
	if name == namesBeyond {
		return &b.rest
	}
	if len(b.by) >= namedMost {
		idle := ""
		for other, n := range b.by {
			if now.Sub(n.last) >= namedIdle && (idle == "" || n.last < b.by[idle].last) {
				idle = other
			}
		}
		if idle == "" {
			return &b.rest
		}
		delete(b.by, idle)
	}
	if b.by == nil {
		b.by = make(map[string]*named)
	}
	n := new(named)
	b.by[strings.Clone(name)] = n
	return n
}

// breakdownDescs are the metrics of a breakdown.
type breakdownDescs struct{ requests, duration, firstByte *prometheus.Desc }

func newBreakdownDescs(by string) breakdownDescs {
	labels := []string{"pool", by}
	return breakdownDescs{
		requests:  prometheus.NewDesc("evenkeel_edge_"+by+"_requests_total", "Requests answered, by "+by+" and the hundreds of their status. The names of "+by+" beyond 20 are other.", append(labels, "code"), nil),
		duration:  prometheus.NewDesc("evenkeel_edge_"+by+"_request_duration_seconds", "From a request's head to the end of its response, by "+by+".", labels, nil),
		firstByte: prometheus.NewDesc("evenkeel_edge_"+by+"_first_byte_seconds", "From a request's head to the head of its server's response, by "+by+".", labels, nil),
	}
}

func (d *breakdownDescs) describe(out chan<- *prometheus.Desc) {
	out <- d.requests
	out <- d.duration
	out <- d.firstByte
}

func (b *breakdown) collect(out chan<- prometheus.Metric, d *breakdownDescs, pool string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, n := range b.by {
		n.collect(out, d, pool, strings.ToValidUTF8(name, "?"))
	}
	if b.rest.last != 0 {
		b.rest.collect(out, d, pool, namesBeyond)
	}
}

var statusLabels = [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (n *named) collect(out chan<- prometheus.Metric, d *breakdownDescs, pool, name string) {
	for i, count := range n.statuses {
		if count > 0 {
			out <- prometheus.MustNewConstMetric(d.requests, prometheus.CounterValue, float64(count), pool, name, statusLabels[i])
		}
	}
	out <- histogramMetric(d.duration, &n.duration, durationScale, pool, name)
	out <- histogramMetric(d.firstByte, &n.firstByte, durationScale, pool, name)
}
