package exchange

import (
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
	"github.com/prometheus/client_golang/prometheus"
)

// Pool is what the edge keeps of a pool.
type Pool struct {
	Name   string
	number int // index in LoopStats.pools

	fixedHeaders string // header lines that servers are sent with every request

	mu          sync.Mutex                           // held over memory work only
	inFlight    map[balance.ServerID]*int            // links of this edge, by server
	idleServers int                                  // how many of inFlight are 0
	unreachable map[balance.ServerID]balance.Instant // servers that could not be reached from here, and until when fallback avoids them
	local       flight.Local                         // whether this edge chooses by itself
	budget      flight.Budget
	turns       flight.Turns
	rng         *rand.Rand
	stats       PoolStats // of exchanges without a loop
	classes     breakdown // of requests whose route says where their class is
	tenants     breakdown

	isLocal     atomic.Bool // of local
	retried     atomic.Bool // the budget is not full
	log         *slog.Logger
	picks       func(result string)   // counts picks that were not granted
	overflows   func(from, to string) // counts requests that a pool has sent on
	retries     prometheus.Counter
	resends     prometheus.Counter
	fallbacks   prometheus.Counter
	localCount  prometheus.Counter // of local choices
	badReports  prometheus.Counter
	disbelieved prometheus.Counter
}

func newPool(name string, number int, s *Settings, m *Metrics) *Pool {
	p := &Pool{
		Name:        name,
		log:         s.Log,
		number:      number,
		inFlight:    make(map[balance.ServerID]*int),
		rng:         rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		picks:       func(result string) { m.picks.WithLabelValues(name, result).Inc() },
		overflows:   func(from, to string) { m.overflows.WithLabelValues(from, to).Inc() },
		retries:     m.retries.WithLabelValues(name),
		resends:     m.resends.WithLabelValues(name),
		fallbacks:   m.fallbacks.WithLabelValues(name),
		localCount:  m.local.WithLabelValues(name),
		badReports:  m.badReports.WithLabelValues(name),
		disbelieved: m.disbelieved.WithLabelValues(name),
	}
	p.stats.mu = &p.mu
	var a HeaderLines
	a.addFixed(s.ID, name)
	p.fixedHeaders = string(a.Text)
	return p
}

// addFixed adds the lines that servers of a pool are sent with every request.
func (a *HeaderLines) addFixed(edge balance.EdgeID, pool string) {
	a.add(routing.HeaderEdge, string(edge))
	a.add(routing.HeaderPool, pool)
	a.add(orca.HeaderFormat, "TEXT")
}

// countLink counts one more link to a server, and returns the argument of releaseLink.
func (p *Pool) countLink(server balance.ServerID) *int {
	p.mu.Lock()
	n := p.inFlight[server]
	if n == nil {
		n = p.addServer(server)
	} else if *n == 0 {
		p.idleServers--
	}
	*n++
	p.mu.Unlock()
	return n
}

// addServer adds a server's count. Servers without a link are forgotten only when there are many.
func (p *Pool) addServer(server balance.ServerID) *int {
	if p.idleServers > maxIdleServers {
		maps.DeleteFunc(p.inFlight, func(_ balance.ServerID, n *int) bool { return *n == 0 })
		p.idleServers = 0
	}
	n := new(int)
	p.inFlight[balance.ServerID(strings.Clone(string(server)))] = n
	return n
}

// maxIdleServers is how many servers without a link are remembered.
const maxIdleServers = 1000

func (p *Pool) releaseLink(n *int) {
	p.mu.Lock()
	if *n--; *n == 0 {
		p.idleServers++
	}
	p.mu.Unlock()
}

// OpenLinks returns how many links of this edge there are to the pool's servers.
func (p *Pool) OpenLinks() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, links := range p.inFlight {
		n += *links
	}
	return n
}

// countRequest counts a request for the retry budget. While nothing is retried the budget is full and need not
// be told.
func (p *Pool) countRequest() {
	if p.retried.Load() {
		p.mu.Lock()
		p.budget.Request()
		p.retried.Store(!p.budget.Full())
		p.mu.Unlock()
	}
}

func (p *Pool) mayRetry(now balance.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retried.Store(true)
	return p.budget.Retry(now)
}

// linksLocked returns how many links of this edge there are to a server.
func (p *Pool) linksLocked(server balance.ServerID) int {
	if n := p.inFlight[server]; n != nil {
		return *n
	}
	return 0
}

// links is linksLocked for others.
func (p *Pool) links(server balance.ServerID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.linksLocked(server)
}

// avoidFor is how long fallback avoids a server that could not be reached from here. A master does so by
// itself.
const avoidFor = time.Second

// noteUnreachable records that a server could not be reached.
func (p *Pool) noteUnreachable(now balance.Instant, server balance.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unreachable == nil {
		p.unreachable = make(map[balance.ServerID]balance.Instant)
	}
	maps.DeleteFunc(p.unreachable, func(_ balance.ServerID, until balance.Instant) bool { return until <= now })
	p.unreachable[balance.ServerID(strings.Clone(string(server)))] = now.Add(avoidFor)
}

// withoutCapped excludes the servers with a cap: an edge does not learn when a request ends that it has redirected.
func withoutCapped(snap *balance.Snapshot, exclude []balance.ServerID) []balance.ServerID {
	if snap == nil {
		return exclude
	}
	for i := range snap.Servers {
		if snap.Servers[i].Cap > 0 {
			exclude = append(slices.Clip(exclude), snap.Servers[i].ID)
		}
	}
	return exclude
}

// fallback chooses without a master. An unreachable server looks idle, so it is avoided if there is another
// one. elsewhere has the links of other pools to servers that the pool shares with them; nil: none.
func (p *Pool) fallback(now balance.Instant, snap *balance.Snapshot, exclude []balance.ServerID, elsewhere map[balance.ServerID]int) (balance.SnapshotServer, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := p.linksLocked
	if len(elsewhere) > 0 {
		links = func(server balance.ServerID) int { return p.linksLocked(server) + elsewhere[server] }
	}
	avoid := p.avoidLocked(now, exclude)
	if len(avoid) > len(exclude) {
		if s, reason := flight.Fallback(snap, avoid, links, &p.turns, p.rng); reason == "" {
			return s, reason
		}
	}
	return flight.Fallback(snap, exclude, links, &p.turns, p.rng)
}

// avoidLocked returns the excluded servers and those that could not be reached a moment ago.
func (p *Pool) avoidLocked(now balance.Instant, exclude []balance.ServerID) []balance.ServerID {
	avoid := exclude
	for server, until := range p.unreachable {
		if until > now {
			avoid = append(slices.Clip(avoid), server)
		}
	}
	return avoid
}
