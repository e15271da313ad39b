package edge

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// pool is what the edge itself keeps of a pool.
type pool struct {
	name string

	mu     sync.Mutex               // over memory work only
	held   map[balance.ServerID]int // links of this edge, by server; no zeros
	budget flight.Budget
	rng    *rand.Rand

	granted    prometheus.Counter // picks of that result
	picks      func(result string)
	codes      [mostCode]atomic.Pointer[prometheus.Counter] // requests by status; nil: none yet
	metrics    *metrics
	inFlight   prometheus.Gauge
	duration   prometheus.Observer
	pickTime   prometheus.Observer
	retries    prometheus.Counter
	fallbacks  prometheus.Counter
	badReports prometheus.Counter
}

func newPool(name string, m *metrics) *pool {
	return &pool{
		name:       name,
		held:       make(map[balance.ServerID]int),
		rng:        rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		granted:    m.picks.WithLabelValues(name, "granted"),
		metrics:    m,
		picks:      func(result string) { m.picks.WithLabelValues(name, result).Inc() },
		inFlight:   m.inFlight.WithLabelValues(name),
		duration:   m.duration.WithLabelValues(name),
		pickTime:   m.pickTime.WithLabelValues(name),
		retries:    m.retries.WithLabelValues(name),
		fallbacks:  m.fallbacks.WithLabelValues(name),
		badReports: m.badReports.WithLabelValues(name),
	}
}

// mostCode is one more than the largest status that is counted without a search.
const mostCode = 600

// answered counts a request by what its client was told.
func (p *pool) answered(status int) {
	if status >= mostCode {
		p.metrics.request(p.name, status)
		return
	}
	c := p.codes[status].Load()
	if c == nil {
		counter := p.metrics.requests.WithLabelValues(p.name, strconv.Itoa(status))
		c = &counter
		p.codes[status].Store(c)
	}
	(*c).Inc()
}

// hold adds n, which may be negative, to this edge's links to a server.
func (p *pool) hold(server balance.ServerID, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[server] += n; p.held[server] == 0 {
		delete(p.held, server)
	}
}

func (p *pool) arrived() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget.Request()
}

func (p *pool) mayRetry(now balance.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.budget.Retry(now)
}

func (p *pool) fallback(snap *balance.Snapshot, exclude []balance.ServerID) (balance.SnapshotServer, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return flight.Fallback(snap, exclude, func(s balance.ServerID) int { return p.held[s] }, p.rng)
}
