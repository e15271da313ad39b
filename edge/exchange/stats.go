package exchange

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LoopStats is what a loop counts. Only the loop goroutine touches it, so that counting takes no lock; readers
// post a message.
type LoopStats struct {
	OpenExchanges int64         // in progress
	Pools         []PoolStats   // by the pool's number
	PickTime      time.Duration // of the last timed immediate pick
	UntimedPicks  int           // immediate picks until another one is timed
}

// PoolStats is what one loop, or several goroutines, count of a pool's requests.
type PoolStats struct {
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

func (t *PoolStats) lock() {
	if t.mu != nil {
		t.mu.Lock()
	}
}

func (t *PoolStats) unlock() {
	if t.mu != nil {
		t.mu.Unlock()
	}
}

// addInFlight adds n to the requests in flight.
func (t *PoolStats) addInFlight(n int64) {
	t.lock()
	t.inFlight += n
	t.unlock()
}

// countPick counts an ask.
func (t *PoolStats) countPick(took time.Duration, granted bool) {
	t.lock()
	t.pickTime.observe(&pickScale, took)
	if granted {
		t.granted++
	}
	t.unlock()
}

// countAnswer counts a finished request.
func (t *PoolStats) countAnswer(status int, took time.Duration) {
	t.lock()
	t.inFlight--
	t.duration.observe(&durationScale, took)
	t.codes = countCode(t.codes, status, 1)
	t.unlock()
}

// countGRPC counts a gRPC request by its status. Clients treat an undefined one as UNKNOWN.
func (t *PoolStats) countGRPC(code int) {
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
func (t *PoolStats) merge(other *PoolStats) {
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
