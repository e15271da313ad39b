package edge

import (
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// pool is what the edge itself keeps of a pool.
type pool struct {
	name   string
	number int // where it stands in books.tallies

	mu     sync.Mutex                // over memory work only
	held   map[balance.ServerID]*int // links of this edge, by server
	none   int                       // how many of held are 0
	budget flight.Budget
	rng    *rand.Rand
	tally  tally // of exchanges that no loop carries

	retried    atomic.Bool         // the budget is not full
	picks      func(result string) // counts those that were not granted
	retries    prometheus.Counter
	fallbacks  prometheus.Counter
	badReports prometheus.Counter
}

func newPool(name string, number int, m *metrics) *pool {
	p := &pool{
		name:       name,
		number:     number,
		held:       make(map[balance.ServerID]*int),
		rng:        rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		picks:      func(result string) { m.picks.WithLabelValues(name, result).Inc() },
		retries:    m.retries.WithLabelValues(name),
		fallbacks:  m.fallbacks.WithLabelValues(name),
		badReports: m.badReports.WithLabelValues(name),
	}
	p.tally.mu = &p.mu
	return p
}

// hold counts one more link of this edge to a server, and returns what release is to be
// given when it is over.
func (p *pool) hold(server balance.ServerID) *int {
	p.mu.Lock()
	n := p.held[server]
	if n == nil {
		n = p.holdFirst(server)
	} else if *n == 0 {
		p.none--
	}
	*n++
	p.mu.Unlock()
	return n
}

// holdFirst makes room for a server's count. Those of servers that have nothing under
// way are kept as long as they are not many.
func (p *pool) holdFirst(server balance.ServerID) *int {
	if p.none > mostNone {
		maps.DeleteFunc(p.held, func(_ balance.ServerID, n *int) bool { return *n == 0 })
		p.none = 0
	}
	n := new(int)
	p.held[balance.ServerID(strings.Clone(string(server)))] = n
	return n
}

// mostNone is how many servers without a link are remembered.
const mostNone = 1000

func (p *pool) release(n *int) {
	p.mu.Lock()
	if *n--; *n == 0 {
		p.none++
	}
	p.mu.Unlock()
}

// arrived says that a request came in. While nothing is retried the budget is full, and
// need not hear of it.
func (p *pool) arrived() {
	if p.retried.Load() {
		p.mu.Lock()
		p.budget.Request()
		p.retried.Store(!p.budget.Full())
		p.mu.Unlock()
	}
}

func (p *pool) mayRetry(now balance.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retried.Store(true)
	return p.budget.Retry(now)
}

// links returns how many of this edge there are to a server. Wants mu held.
func (p *pool) links(server balance.ServerID) int {
	if n := p.held[server]; n != nil {
		return *n
	}
	return 0
}

func (p *pool) fallback(snap *balance.Snapshot, exclude []balance.ServerID) (balance.SnapshotServer, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return flight.Fallback(snap, exclude, p.links, p.rng)
}
