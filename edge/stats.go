package edge

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// loopStats is what a loop counts. Only the loop goroutine touches it, so that counting takes no lock; readers
// post a message.
type loopStats struct {
	openExchanges int64         // in progress
	pools         []poolStats   // by the pool's number
	pickTime      time.Duration // of the last timed immediate pick
	untimedPicks  int           // immediate picks until another one is timed
}

// poolStats is what one loop, or several goroutines, count of a pool's requests.
type poolStats struct {
	mu       *sync.Mutex // nil: a loop's own
	inFlight int64
	granted  uint64      // granted picks
	codes    []codeCount // requests by status; few statuses occur
	grpc     []codeCount // gRPC requests by gRPC status; grpcNone: without one
	duration histogram   // by durationScale
	pickTime histogram   // by pickScale
}

// codeCount is how many requests had a status.
type codeCount struct {
	code  int
	count uint64
}

func (t *poolStats) lock() {
	if t.mu != nil {
		t.mu.Lock()
	}
}

func (t *poolStats) unlock() {
	if t.mu != nil {
		t.mu.Unlock()
	}
}

// addInFlight adds n to the requests in flight.
func (t *poolStats) addInFlight(n int64) {
	t.lock()
	t.inFlight += n
	t.unlock()
}

// countPick counts an ask.
func (t *poolStats) countPick(took time.Duration, granted bool) {
	t.lock()
	t.pickTime.observe(&pickScale, took)
	if granted {
		t.granted++
	}
	t.unlock()
}

// countAnswer counts a finished request.
func (t *poolStats) countAnswer(status int, took time.Duration) {
	t.lock()
	t.inFlight--
	t.duration.observe(&durationScale, took)
	t.codes = countCode(t.codes, status, 1)
	t.unlock()
}

// countGRPC counts a gRPC request by its status. Clients treat an undefined one as UNKNOWN.
func (t *poolStats) countGRPC(code int) {
	if code > grpcUnauthenticated {
		code = grpcUnknown
	}
	t.lock()
	t.grpc = countCode(t.grpc, code, 1)
	t.unlock()
}

// countCode counts n requests with a status.
func countCode(codes []codeCount, code int, n uint64) []codeCount {
	for i := range codes {
		if c := &codes[i]; c.code == code {
			c.count += n
			return codes
		}
	}
	return append(codes, codeCount{code, n})
}

// merge adds other's counts.
func (t *poolStats) merge(other *poolStats) {
	t.inFlight += other.inFlight
	t.granted += other.granted
	for _, c := range other.codes {
		t.codes = countCode(t.codes, c.code, c.count)
	}
	for _, c := range other.grpc {
		t.grpc = countCode(t.grpc, c.code, c.count)
	}
	t.duration.add(&other.duration)
	t.pickTime.add(&other.pickTime)
}

// bucketScale is the upper bounds of a histogram's buckets.
type bucketScale struct {
	bounds  [buckets]time.Duration
	seconds []float64 // the bounds in seconds
}

const buckets = 14

func newScale(told []float64) (s bucketScale) {
	s.seconds = told
	for i := range s.bounds {
		s.bounds[i] = longest
		if i < len(told) {
			s.bounds[i] = time.Duration(told[i] * float64(time.Second))
		}
	}
	return s
}

const longest = time.Duration(1<<63 - 1)

var (
	durationScale = newScale(prometheus.ExponentialBuckets(.001, 2.5, 14))
	pickScale     = newScale(prometheus.ExponentialBuckets(.000025, 3, 13))
)

// histogram counts durations by a bucketScale.
type histogram struct {
	counts [buckets + 1]uint64 // the last: beyond all bounds
	sum    time.Duration
}

func (h *histogram) observe(s *bucketScale, d time.Duration) {
	i := 0
	for i < buckets && d > s.bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += d
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.sum += other.sum
}

// metric returns the histogram for Prometheus.
func (h *histogram) metric(desc *prometheus.Desc, s *bucketScale, pool string) prometheus.Metric {
	below, count := make(map[float64]uint64, len(s.seconds)), uint64(0)
	for i, bound := range s.seconds {
		count += h.counts[i]
		below[bound] = count
	}
	for _, n := range h.counts[len(s.seconds):] {
		count += n
	}
	return prometheus.MustNewConstHistogram(desc, count, h.sum.Seconds(), below, pool)
}

// sumStats returns the stats of all pools, by their numbers.
func (e *Edge) sumStats() []poolStats {
	sums := make([]poolStats, len(e.pools))
	for _, p := range e.pools {
		p.mu.Lock()
		sums[p.number].merge(&p.stats)
		p.mu.Unlock()
	}
	e.loops.audit(func(b *loopStats) {
		for i := range b.pools {
			sums[i].merge(&b.pools[i])
		}
	})
	return sums
}

// mergeStats takes over the counts of a loop that has ended.
func (e *Edge) mergeStats(left *loopStats) {
	e.open.Add(left.openExchanges)
	for _, p := range e.pools {
		p.mu.Lock()
		p.stats.merge(&left.pools[p.number])
		p.mu.Unlock()
	}
}

// statsCollector collects the stats, and the vectors that count the same.
type statsCollector struct {
	edge                                                    *Edge
	requests, grpc, picks, inFlight, duration, pickDuration *prometheus.Desc
}

func newStatsCollector(e *Edge) *statsCollector {
	return &statsCollector{
		edge:         e,
		requests:     descOf(e.metrics.requests),
		grpc:         descOf(e.metrics.grpc),
		picks:        descOf(e.metrics.picks),
		inFlight:     prometheus.NewDesc("evenkeel_edge_in_flight", "Requests taken and not yet answered in full, and connections of TCP listeners.", byPool, nil),
		duration:     prometheus.NewDesc("evenkeel_edge_request_duration_seconds", "From a request's head to the end of its response.", byPool, nil),
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
	for _, d := range []*prometheus.Desc{c.requests, c.grpc, c.picks, c.inFlight, c.duration, c.pickDuration} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(out chan<- prometheus.Metric) {
	c.edge.metrics.requests.Collect(out)
	c.edge.metrics.grpc.Collect(out)
	c.edge.metrics.picks.Collect(out)
	sums := c.edge.sumStats()
	for name, p := range c.edge.pools {
		t := &sums[p.number]
		out <- t.duration.metric(c.duration, &durationScale, name)
		out <- t.pickTime.metric(c.pickDuration, &pickScale, name)
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
