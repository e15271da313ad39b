package balance

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Config is what a pool is told once.
type Config struct {
	Name        string
	Dispatch    bool                    // servers are told first; only passed on in snapshots
	LeaseTime   time.Duration           // time limit of redirected leases, of those without an edge, and of those whose edge has gone; zero: a minute
	Grace       time.Duration           // how long a lost edge's leases are kept for its return; zero: 5 s
	QueueSize   int                     // requests that may wait while every server is at its limit; zero: none, and servers have no limit
	QueueWait   time.Duration           // the longest wait; zero: 30 times as long as a request takes, and at least 10 s
	Tenants     map[string]TenantConfig // those that have lines of their own in the queue, all others share one; empty: those that are proven or have been served lately
	Affinity    Affinity
	Distances   map[string]map[string]float64                                           // from a client's location to a server's: how much more it costs, 0: no more
	Utilization func(metric func(name string) (value float64, ok bool)) (float64, bool) // makes one utilisation of a server's metrics; nil: the application's, else the CPU's
	Decisions   int                                                                     // how many recent decisions are kept to be explained; zero: none
	MaxInFlight int                                                                     // most leases of a server that declares no cap; zero: no cap
	Overflow    Overflow                                                                // where requests go that would wait too long
	Canary      Canary                                                                  // gets a fixed share of the requests
	RoundTrip   time.Duration                                                           // between edge and master, as far as it is known; zero: a millisecond
}

const (
	defaultLeaseTime = time.Minute
	defaultGrace     = 5 * time.Second
	defaultRoundTrip = time.Millisecond
)

// Pool is the servers that can do the same processing, their ledger, and the policy
// for choosing among them.
type Pool struct {
	cfg      Config
	policy   Policy
	scorer   Scorer // of policy, or nil
	rng      *rand.Rand
	tieState uint64 // what tieBreak returned last
	turns    uint32 // the last that was given
	ledger   ledger
	serverOrders
	members
	poolEdges
	scratch []*Server
	poolLearnt
	names map[string]string // of metrics, interned
	poolRounds
	crowdedOut bool // others fill nearly the whole pool
	loose      bool // limits hold no request back, because one server has none
	queue      queue
	tenants    acquaintances
	clients    clients
	recent     recent
	displaced  []Release // from the queue, since Serve last ran
	knownFrom  Instant   // there may be leases that the pool has not been told of, until then
	dueServers
	poolFigures
	poolCounts
}

// members are the servers.
type members struct {
	servers []*Server // in order of arrival; Server.index points back
	byID    map[ServerID]*Server
	version uint64
	grouped bool    // servers have been put together with those alike
	serials uint32  // given out
	untold  int     // servers that are known by leases alone
	canary  *canary // nil: there is none
	backups int     // servers that are backups

	sharing *sharing // with pools in which the same servers may stand; nil: with none
}

// serverOrders are the servers in the orders in which they are taken.
type serverOrders struct {
	order          order // of servers by score, if there is a scorer
	room           room  // of all servers
	groups         map[string]*group
	placedByLabels uint64    // requests for labels of a group, ever
	groupName      []byte    // scratch
	reachable      []*beyond // of edges that have an order of the servers that they reach
	allAtLimit     string    // says that all servers are
}

// poolEdges are the edges, by numbers.
type poolEdges struct {
	edges      []edge // interned; 0: no edge
	edgeNo     map[EdgeID]int32
	edgesFree  []int32 // numbers that no edge has
	edgesSwept int     // edges that there were when those that have gone were looked for last
	lastEdge   int32
	exclusions int // of servers for edges
}

// poolLearnt is what is learnt of the work and of the way to servers.
type poolLearnt struct {
	weighingState
	times  times
	sizes  sizes
	growth growth
	trip   trip
	local  local
}

// dueServers are the servers that a later time changes.
type dueServers struct {
	warmUntil     Instant   // no server is warming up from then on
	returns       Instant   // the first of waking changes then
	waking        []*Server // whose ejection or hold ends, or warming up begins
	silent        []*Server // that were found suspect of standing still; some may have shown that they live
	noneWellUntil Instant   // no server does better than one that fails, as was found a moment ago
}

// weighingState is what the choice by work needs between its steps.
type weighingState struct {
	plain     bool    // the policy's scorer is an EdgeScorer: it weighs nothing but time
	perRatio  float64 // 1 over the servers' mean ratio, by slots
	workPrice float64 // of a unit of mean work
	later     *Server // for which choose would rather have its request wait; nil: none
	trying    *waiter // of the request for which a server is being chosen; nil: it does not wait
}

// poolRounds is the maintenance of servers and edges, of which each call does a part.
type poolRounds struct {
	totals         poolTotals
	edgeMaintained int // the edge that was looked after last
	maintained     int // the server that was looked after last
	maintainedAt   Instant
	cycle          time.Duration // how long the last round of all servers took
	cycleBegan     Instant
}

// poolCounts is what is counted of answers and grants, ever.
type poolCounts struct {
	good         uint64                    // good answers ever
	answered     Instant                   // the last answer, of whatever kind
	clientErrors uint64                    // client errors ever
	fulls        uint64                    // answers ever that a server has no room
	fullsTold    uint64                    // those that who waits has been told of
	limitsAt     Instant                   // a server turned out to say so to some clients only; zero: never
	clientsAt    Instant                   // a server last answered 429 with fewer requests present than it usually serves; zero: never
	goodAt       Instant                   // the last good answer
	placed       uint64                    // requests that got a server, ever
	placedFirst  Instant                   // when the first of them did
	crowding     float64                   // how many times as long as alone a request takes at servers that have all that they may
	allowed      float64                   // mean seconds that requests have until their deadline; zero: they have none
	knownBefore  map[ServerID]recollection // of the pool's servers what the master before knew, until answers rule it out; nil: nothing
	recalled     map[ServerID]recollection // of servers that are not here yet; nil: none
	recallUntil  Instant                   // then they are forgotten
	classes      classes                   // what has become of requests lately, for people
}

// poolFigures are figures of the whole pool that choices go by.
type poolFigures struct {
	newcomer   capacity // of a server of which nothing is known: what the others have on average, if limits hold for these
	usualSlots float64  // c of a server for which it is not told; zero: not known
	perWaiting float64  // seconds by which a request in the queue delays those behind it; zero: not known
	mean       float64  // leases of a server that is warm; infinite while none is
}

// New returns an empty pool. Two pools with the same seed, told the same things,
// make the same choices.
func New(cfg Config, policy Policy, seed uint64) *Pool {
	rng := rand.New(rand.NewPCG(seed, 0x65766b6c))
	p := &Pool{
		rng:      rng,
		tieState: rng.Uint64(),
		ledger:   ledger{epoch: uint16(rng.Uint32N(1<<16-1)) + 1},
		names:    make(map[string]string),
	}
	p.byID = make(map[ServerID]*Server)
	p.edges, p.edgeNo = []edge{{}}, map[EdgeID]int32{"": 0}
	p.perRatio = 1
	p.mean, p.newcomer = math.Inf(1), capacity{slots: 1}
	p.times = times{usual: 1, perUsual: 1, rate: 1. / paceMemory, equal: equalErrors, worth: priorWeight}
	p.Configure(0, cfg, policy)
	return p
}

// Configure changes what the pool was told by New. Leases, what is learnt, and who
// waits stay; a queue that is longer than its new size shrinks as it is served.
func (p *Pool) Configure(now Instant, cfg Config, policy Policy) {
	cfg.LeaseTime = cmp.Or(cfg.LeaseTime, defaultLeaseTime)
	cfg.Grace = cmp.Or(cfg.Grace, defaultGrace)
	cfg.Affinity.Keys = cmp.Or(cfg.Affinity.Keys, defaultKeys)
	cfg.RoundTrip = cmp.Or(cfg.RoundTrip, defaultRoundTrip)
	p.cfg, p.policy, p.scorer = cfg, policy, nil
	if by, ok := policy.(ByScore); ok {
		p.scorer = by.Scorer
	}
	p.queue.size, p.queue.fullDetail = cfg.QueueSize, ""
	p.allAtLimit = fmt.Sprintf("pool %s: every server is at its limit", cfg.Name)
	p.trip.begin(cfg.RoundTrip)
	p.list(cfg.Tenants)
	_, p.plain = p.scorer.(EdgeScorer)
	p.local.plain = p.plain && !cfg.Dispatch && !p.capsTenants() && cfg.Affinity.Hit == 0 && len(cfg.Distances) == 0
	if p.recent.size != cfg.Decisions {
		p.recent = recent{size: cfg.Decisions, taps: p.recent.taps}
	}
	p.version++
	p.setCanary(cfg.Canary)
	for _, s := range p.servers {
		p.regroup(now, s)
		s.memory = memory{}
		p.recap(s)
		p.bound(s)
		p.rank(now, s)
		for _, c := range s.counterparts() {
			c.pool.refresh(now, c) // the pool's cap is theirs
		}
	}
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.cfg.Name }

// Open returns the number of open leases.
func (p *Pool) Open() int { return p.ledger.open }
