package exchange

import (
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/histogram"
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
	mu        *sync.Mutex // nil: a loop's own
	inFlight  int64
	granted   uint64              // granted picks
	codes     []codeCount         // requests by status; few statuses occur
	grpc      []codeCount         // gRPC requests by gRPC status; grpcNone: without one
	duration  histogram.Histogram // by durationScale
	firstByte histogram.Histogram // by durationScale
	pickTime  histogram.Histogram // by pickScale
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
	t.pickTime.Observe(pickScale, took, 1)
	if granted {
		t.granted++
	}
	t.unlock()
}

// countAnswer counts a finished request. firstByte is until the head of its server's response; zero: no server has answered.
func (t *PoolStats) countAnswer(status int, took, firstByte time.Duration) {
	t.lock()
	t.inFlight--
	t.duration.Observe(durationScale, took, 1)
	if firstByte > 0 {
		t.firstByte.Observe(durationScale, firstByte, 1)
	}
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
	t.duration.Add(&other.duration)
	t.firstByte.Add(&other.firstByte)
	t.pickTime.Add(&other.pickTime)
}

// histogramMetric returns a histogram for Prometheus.
func histogramMetric(desc *prometheus.Desc, h *histogram.Histogram, s *histogram.Scale, labels ...string) prometheus.Metric {
	count, sum, buckets := h.Cumulative(s)
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets, labels...)
}

// Scales of durations: of requests, and of asks.
var (
	durationScale = histogram.NewScale(time.Millisecond, 10*time.Minute)
	pickScale     = histogram.NewScale(10*time.Microsecond, time.Minute)
)
