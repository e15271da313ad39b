package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Policy chooses among servers that may all take the request. Package policy has
// the table of them.
type Policy interface {
	// Choose returns an index into candidates, of which there is at least one. It
	// keeps nothing of its arguments, and rng is its only source of chance.
	Choose(now Instant, req *Request, candidates []*Server, rng *rand.Rand) int
}

// Scorer compares servers by a number that does not depend on the request; the
// lowest wins. A pool keeps its servers in order of it, so that a choice among
// thousands costs little more than one among ten.
type Scorer interface {
	Score(now Instant, s *Server) float64
}

// EdgeScorer is a Scorer for which an edge can stand in that knows its own requests, slots and service times.
type EdgeScorer interface {
	Scorer
	EdgesMayChoose()
}

// ByScore is the Policy that takes the lowest score; equals are taken in turn.
type ByScore struct{ Scorer }

// Choose looks at every candidate. A pool does so only where the request itself
// leaves few of its servers open.
func (p ByScore) Choose(now Instant, _ *Request, candidates []*Server, _ *rand.Rand) int {
	best, lowest := 0, never
	for i, s := range candidates {
		if k := s.key(p.Score(now, s)); k < lowest {
			best, lowest = i, k
		}
	}
	return best
}

// Config is what a pool is told once.
type Config struct {
	Name        string
	Dispatch    bool          // servers are told first; only passed on in snapshots
	LeaseTime   time.Duration // time limit of redirected leases, of those without an edge, and of those whose edge has gone; zero: a minute
	Grace       time.Duration // how long a lost edge's leases are kept for its return; zero: 5 s
	QueueSize   int           // requests that may wait while every server is at its limit; zero: none, and servers have no limit
	QueueWait   time.Duration // the longest wait; zero: 30 times as long as a request takes, and at least 10 s
	Tenants     []string      // those that have lines of their own in the queue, all others share one; empty: those that are proven or have been served lately
	Affinity    Affinity
	Distances   map[string]map[string]float64                                           // from a client's location to a server's: how much more it costs, 0: no more
	Utilization func(metric func(name string) (value float64, ok bool)) (float64, bool) // makes one utilisation of a server's metrics; nil: the application's, else the CPU's
	Decisions   int                                                                     // how many recent decisions are kept to be explained; zero: none
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
	cfg            Config
	policy         Policy
	scorer         Scorer // of policy, or nil
	rng            *rand.Rand
	tieState       uint64 // what tieBreak returned last
	turns          uint32 // the last that was given
	ledger         ledger
	order          order     // of servers by score, if there is a scorer
	servers        []*Server // in order of arrival; Server.index points back
	byID           map[ServerID]*Server
	edges          []edge // interned; 0: no edge
	edgeNo         map[EdgeID]int32
	edgesFree      []int32 // numbers that no edge has
	edgesSwept     int     // edges that there were when those that have gone were looked for last
	lastEdge       int32
	scratch        []*Server
	version        uint64
	times          times
	growth         growth
	trip           trip
	local          local
	names          map[string]string // of metrics, interned
	totals         poolTotals
	crowdedOut     bool // others fill nearly the whole pool
	loose          bool // limits hold no request back, because one server has none
	queue          queue
	tenants        acquaintances
	clients        clients
	recent         recent
	displaced      []Release // from the queue, since Serve last ran
	warmUntil      Instant   // no server is warming up from then on
	returns        Instant   // the first of waking changes then
	waking         []*Server // whose ejection or hold ends, or warming up begins
	silent         []*Server // that were found suspect of standing still; some may have shown that they live
	noneWellUntil  Instant   // no server does better than one that fails, as was found a moment ago
	exclusions     int       // of servers for edges
	grouped        bool      // servers have been put together with those alike
	edgeMaintained int       // the edge that was looked after last
	newcomer       capacity  // of a server of which nothing is known: what the others have on average, if limits hold for these
	usualSlots     float64   // c of a server for which it is not told; zero: not known
	perWaiting     float64   // seconds by which a request in the queue delays those behind it; zero: not known
	mean           float64   // leases of a server that is warm; infinite while none is
	maintained     int       // the server that was looked after last
	maintainedAt   Instant
	cycle          time.Duration // how long the last round of all servers took
	cycleBegan     Instant
	good           uint64  // good answers ever
	answered       Instant // the last answer, of whatever kind
	clientErrors   uint64  // client errors ever
	fulls          uint64  // answers ever that a server has no room
	fullsTold      uint64  // those that who waits has been told of
	limitsAt       Instant // a server turned out to say so to some clients only; zero: never
	goodAt         Instant // the last good answer
	serials        uint32  // given out
	untold         int     // servers that are known by leases alone
	placed         uint64  // requests that got a server, ever
	placedFirst    Instant // when the first of them did
}

// New returns an empty pool. Two pools with the same seed, told the same things,
// make the same choices.
func New(cfg Config, policy Policy, seed uint64) *Pool {
	rng := rand.New(rand.NewPCG(seed, 0x65766b6c))
	p := &Pool{
		rng:      rng,
		tieState: rng.Uint64(),
		ledger:   ledger{epoch: uint16(rng.Uint32N(1<<16-1)) + 1},
		byID:     make(map[ServerID]*Server),
		edges:    []edge{{}},
		edgeNo:   map[EdgeID]int32{"": 0},
		mean:     math.Inf(1),
		newcomer: capacity{slots: 1},
		names:    make(map[string]string),
		times:    times{usual: 1, perUsual: 1, rate: 1. / paceMemory, equal: equalErrors},
	}
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
	p.queue.size = cfg.QueueSize
	p.trip.begin(cfg.RoundTrip)
	p.tenants.list(cfg.Tenants)
	_, scored := p.scorer.(EdgeScorer)
	p.local.plain = scored && !cfg.Dispatch && cfg.Affinity.Hit == 0 && len(cfg.Distances) == 0
	if p.recent.size != cfg.Decisions {
		p.recent = recent{size: cfg.Decisions}
	}
	p.version++
	for _, s := range p.servers {
		s.memory = memory{}
		p.bound(s)
		p.rank(now, s)
	}
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.cfg.Name }

// Open returns the number of open leases.
func (p *Pool) Open() int { return p.ledger.open }

// Pick chooses a server and opens a lease on it. Its error is always a *Refusal;
// where the pool has a queue, one whose Reason is Saturated may be waited out by Join.
func (p *Pool) Pick(now Instant, req *Request) (g Grant, err error) {
	if p.queue.holds(req.Priority) && p.mayWait(now, req, nil) { // if no server is up it is no use to wait: all are tried
		return Grant{}, p.refuse(now, req)
	}
	s := p.choose(now, req)
	if s == nil {
		return Grant{}, p.refuse(now, req)
	}
	if refusal := p.grant(now, req, s, &g); refusal != nil {
		return Grant{}, refusal
	}
	return g, nil
}

// choose returns the server for a request, or nil if none can take it now.
func (p *Pool) choose(now Instant, req *Request) *Server {
	p.maintain(now)
	if len(p.silent) > 0 {
		if s := p.onTrial(now, req); s != nil {
			return s
		}
	}
	if p.scorer != nil && len(req.Labels) == 0 {
		if p.personal(req) {
			return p.closest(now, req)
		}
		if s := p.lowest(now, req); s != nil {
			return s
		}
	}
	candidates := p.candidates(now, req)
	if len(candidates) == 0 {
		return nil
	}
	return candidates[p.policy.Choose(now, req, candidates, p.rng)]
}

// lowest returns the first server in order that the request, and what its edge reaches,
// leave open. It gives up after a few: then some are drawn, and if none of them will do all
// are looked at.
func (p *Pool) lowest(now Instant, req *Request) *Server {
	first := p.order.first()
	if first < 0 {
		return nil
	}
	beyond := p.beyond(now, req.Edge)
	if s := p.servers[first]; len(req.Exclude) == 0 && beyond == nil || s.suits(now, req, beyond) {
		return s
	}
	n := len(req.Exclude) + 1
	if beyond != nil {
		n = maxBest
	}
	var few [maxBest]int32
	for _, i := range p.order.best(few[:0], n) {
		if s := p.servers[i]; s.suits(now, req, beyond) {
			return s
		}
	}
	if beyond != nil && len(p.servers) > fewServers {
		return p.drawn(now, req, beyond)
	}
	return nil
}

// drawn returns the best of some servers drawn by lot, for a request whose edge cannot
// reach so many that those first in order are all among them.
func (p *Pool) drawn(now Instant, req *Request, beyond *beyond) (chosen *Server) {
	best := never
	for range draws {
		i := int32(p.tieBreak() >> 32 * uint64(len(p.servers)) >> 32)
		if k := p.order.of(i); k < best && p.servers[i].suits(now, req, beyond) {
			best, chosen = k, p.servers[i]
		}
	}
	return chosen
}

const (
	fewServers = 64 // all are looked at as fast as draws of them
	draws      = 32 // the best of them is nearly the best of all
)

// grant opens a lease on a server and fills in what the edge is told of it.
func (p *Pool) grant(now Instant, req *Request, s *Server, g *Grant) *Refusal {
	l, ok := p.ledger.add(s, p.edge(req.Edge), now, p.limit(now, req))
	if !ok {
		return &Refusal{Reason: Saturated, RetryAfter: time.Second, Detail: fmt.Sprintf("pool %s has %d open leases, the most it can have", p.cfg.Name, p.ledger.open)}
	}
	p.place(now, req, s, l)
	g.Lease, g.Server, g.Address, g.At, g.Public, g.Expires = l.id, s.answer.id(), s.answer.address(), s.answer.at(), s.answer.public(), l.expires
	g.Serial = s.serial
	return nil
}

// place enters a request that goes to a server, and its lease.
func (p *Pool) place(now Instant, req *Request, s *Server, l *lease) {
	l.crowd = float32(s.crowd(now) + 1)
	if p.tenants.learns(req) && (p.queue.length > 0 || p.placed%16 == 0) { // now and then will do while no request waits
		p.tenants.serves(now, req.Tenant)
	}
	l.client = PrefixOf(req.Client)
	p.clients.opened(l.client)
	if p.recent.affords(now) {
		p.note(now, l.id, req, s)
	}
	if key := p.hash(req.Key); key != 0 {
		s.memory.use(key, p.cfg.Affinity.Keys)
	}
	s.granted++
	if p.placed++; p.placed == 1 {
		p.placedFirst = now
	}
	if p.exclusions > 0 {
		p.edges[l.edge].placed++
	}
	if len(req.Exclude) > 0 || len(req.Labels) > 0 {
		p.accountRequest(now, req)
	}
	p.takeTurn(now, s)
	p.hold(now, s, 1)
	if req.Link == LinkRedirect {
		p.owes(now, l, false)
	} else if s.isHeldForSilence() {
		p.try(now, s)
	}
}

// limit returns when a lease for the request ends by itself. No connection of an edge tells when a redirected link, or one
// without an edge, ends, so those always have a limit.
func (p *Pool) limit(now Instant, req *Request) Instant {
	switch {
	case req.Hold > 0:
		return now.Add(req.Hold)
	case req.Link == LinkRedirect || req.Edge == "":
		return now.Add(p.cfg.LeaseTime)
	}
	return 0
}

// edge returns the number of an edge, which most often is the one that asked last.
func (p *Pool) edge(id EdgeID) int32 {
	if p.edges[p.lastEdge].id == id {
		return p.lastEdge
	}
	n, ok := p.edgeNo[id]
	if !ok {
		n = p.number()
		p.edges[n] = edge{id: EdgeID(string([]byte(id)))}
		p.edgeNo[p.edges[n].id] = n
	}
	p.edges[n].gone = false
	p.lastEdge = n
	return n
}

// beyond returns the servers that the edge cannot reach now; nil: none.
func (p *Pool) beyond(now Instant, id EdgeID) *beyond {
	if p.exclusions == 0 {
		return nil // nearly always
	}
	return p.edges[p.edge(id)].active(now)
}

// hold adds n, which may be negative, to the server's open leases.
func (p *Pool) hold(now Instant, s *Server, n int32) {
	if s.reporting {
		s.settle(now)
	}
	if n > 0 {
		p.beginsToOwe(now, s)
	}
	s.leases += n
	p.rank(now, s)
}

// Done ends a lease. It returns false if the lease is not open: ended already,
// expired, or never this pool's.
func (p *Pool) Done(now Instant, id LeaseID, o Outcome) bool {
	l := p.ledger.find(id)
	if l == nil {
		return false
	}
	p.end(now, l, o)
	return true
}

// Ending is what becomes of the word that a lease is over.
type Ending uint8

const (
	NotOpen Ending = iota // it has ended already, has expired, or was never this pool's
	Ended
	Foreign // the lease is another's, and goes on
)

// DoneBy is Done by the word of an edge, which ends its own leases only.
func (p *Pool) DoneBy(now Instant, edge EdgeID, id LeaseID, o Outcome) Ending {
	l := p.ledger.find(id)
	switch {
	case l == nil:
		return NotOpen
	case p.edges[l.edge].id != edge:
		return Foreign
	}
	p.end(now, l, o)
	return Ended
}

// ErrForeign is wrapped by the error of Hold where the lease is another edge's, or was not granted yet.
var ErrForeign = errors.New("the lease is not this edge's")

// Lease is what a pool knows of an open lease.
type Lease struct {
	ID      LeaseID
	Server  ServerID
	Edge    EdgeID // empty: of no edge
	Started Instant
	Expires Instant // zero: with its edge
	Adopted bool    // another life of this pool granted it
	Tag     uint64  // of one that is adopted, as its edge told it
}

// Lease returns an open lease.
func (p *Pool) Lease(id LeaseID) (Lease, bool) {
	l := p.ledger.find(id)
	if l == nil {
		return Lease{}, false
	}
	own, adopted := p.ledger.adopted[id]
	return Lease{ID: l.id, Server: l.server.spec.ID, Edge: p.edges[l.edge].id, Started: l.started, Expires: l.expires, Adopted: adopted, Tag: own.tag}, true
}

func (p *Pool) end(now Instant, l *lease, o Outcome) {
	s, ended := l.server, *l
	p.ledger.drop(l)
	p.clients.closed(ended.client)
	if ended.idle {
		s.idle--
	}
	p.clients.rest(now, p.queue.length)
	s.count(now, o)
	if o.isSign() {
		p.answered = now
		p.alive(now, s, now)
	}
	if ended.crowd > 0 && o.Duration > 0 && !ended.idle && !ended.chosen {
		p.trip.observe(seconds(now.Sub(ended.started) - o.Duration))
	}
	if o.Result == OK && o.Duration > 0 { // errors teach nothing of how long the work takes
		p.learn(now, s, float64(ended.crowd), o.Duration)
		p.probe(s)
	}
	p.judge(now, s, &ended, &o)
	if s.load.x > 0 {
		s.confirm(now)
		s.touched(now)
	}
	if p.queue.length > 0 {
		p.bound(s)
	}
	p.hold(now, s, -1)
	if !o.isSign() && !ended.idle {
		s.gaveUp = now
		p.findStandstill(now, s) // before its place is given to another
	}
	if s.gone && s.leases == 0 {
		p.forget(now, s)
	}
}

// Hold enters a lease that another life of this pool granted and its edge still
// holds, or confirms one that is open. A zero left lifts the time limit. The lease may
// be on a server of which this master has not been told yet: edges are often back before
// agents are. Such a server counts as one that has left, until Put says otherwise. The tag
// is that of its Grant. A lease that is another edge's, or that the pool has not granted yet,
// is ErrForeign and stays as it is. So many that they cannot be are refused.
func (p *Pool) Hold(now Instant, edge EdgeID, id LeaseID, server ServerID, age, left time.Duration, tag uint64) error {
	if id == 0 {
		return fmt.Errorf("pool %s: lease 0 on server %s is none", p.cfg.Name, server)
	}
	var expires Instant
	if left > 0 {
		expires = now.Add(left)
	}
	if l := p.ledger.find(id); l != nil {
		if p.edges[l.edge].id != edge {
			return fmt.Errorf("pool %s: lease %s: %w", p.cfg.Name, id, ErrForeign)
		}
		p.ledger.limit(l, expires)
		return nil
	}
	if p.ledger.isToCome(id) {
		return fmt.Errorf("pool %s: lease %s has not been granted: %w", p.cfg.Name, id, ErrForeign)
	}
	if problem := BadName(string(server)); problem != "" {
		return fmt.Errorf("pool %s: lease %s: server: %s", p.cfg.Name, id, problem)
	}
	s := p.byID[server]
	if err := p.bearable(s); err != nil {
		return fmt.Errorf("pool %s: lease %s on server %s: %w", p.cfg.Name, id, server, err)
	}
	if s == nil {
		s = p.admit(now, ServerSpec{ID: ServerID(strings.Clone(string(server)))})
		s.gone, s.since.departure, s.since.left = true, byLease, now
		p.untold++
	}
	if !p.ledger.adopt(id, tag, s, p.edge(edge), now.Add(-age), expires) {
		if s.gone && s.leases == 0 {
			p.forget(now, s)
		}
		return fmt.Errorf("pool %s: lease %s: the ledger is full", p.cfg.Name, id)
	}
	p.hold(now, s, 1)
	if left > 0 {
		p.owes(now, p.ledger.find(id), false) // it was redirected
	}
	return nil
}

// Expire ends the leases whose time is over and returns when to call it, and Serve,
// next; zero: when something else has been called.
func (p *Pool) Expire(now Instant) (next Instant) {
	for {
		l, next := p.ledger.due(now)
		if l == nil {
			if p.queue.length > 0 { // external load may fade without a word
				next = min(cmp.Or(next, forever), p.queue.soonest, now.Add(maintenanceCycle), p.returns)
			}
			return next
		}
		p.end(now, l, Outcome{Result: Expired})
	}
}

// Put adds a server or changes what is declared of one. A server that had said
// goodbye or was draining is back. fixed says that the file names it: then it is
// never forgotten, and whatever its agent may add stands in spec already.
func (p *Pool) Put(now Instant, spec ServerSpec, fixed bool) error {
	if err := spec.Check(); err != nil {
		return err
	}
	s := p.byID[spec.ID]
	if s == nil {
		s = p.admit(now, spec)
	}
	p.version++
	p.account(now, s)
	if s.gone {
		p.warm(s, now)
		p.isKnown(s)
	}
	if s.location != nil && spec.Address != s.spec.Address {
		p.Locate(now, spec.ID, Location{})
	}
	s.fixed = s.fixed || fixed
	p.declare(s, spec)
	p.tell(s)
	s.gone, s.draining = false, false
	p.rank(now, s)
	return nil
}

// admit enters a server that the pool does not have.
func (p *Pool) admit(now Instant, spec ServerSpec) *Server {
	p.version++
	s := &Server{pool: p, index: int32(len(p.servers)), health: health{success: 1}, pace: pace{last: now}, details: &details{evidence: silence, knee: unheardKnee}}
	s.losses.placed = p.placed
	p.servers = append(p.servers, s)
	p.order.grow()
	p.byID[spec.ID] = s
	p.warm(s, now)
	p.declare(s, spec)
	return s
}

// declare takes up what is declared of a server.
func (p *Pool) declare(s *Server, spec ServerSpec) {
	s.spec = spec
	s.speed = cmp.Or(spec.Speed, 1)
	s.ratio = 1 / s.speed
	if p.times.weight > 0 {
		p.assess(s)
	}
	p.survey(s)
}

// Goodbye says that a server leaves. It gets nothing new and is forgotten with its
// last lease; one that the file names stays, out of rotation, for its return.
func (p *Pool) Goodbye(now Instant, id ServerID) { p.leave(now, id, byGoodbye) }

func (p *Pool) leave(now Instant, id ServerID, how *departure) {
	s := p.byID[id]
	if s == nil {
		return
	}
	p.version++
	p.account(now, s)
	if !s.gone {
		s.gone, s.since.departure, s.since.left = true, how, now
	}
	p.rank(now, s)
	if s.leases == 0 {
		p.forget(now, s)
	}
}

// Unname says that the file names a server no more: it leaves as any other would.
func (p *Pool) Unname(now Instant, id ServerID) {
	if s := p.byID[id]; s != nil {
		s.fixed = false
		p.leave(now, id, byFile)
	}
}

func (p *Pool) forget(now Instant, s *Server) {
	if s.fixed {
		return
	}
	end := len(p.servers) - 1
	last := p.servers[end]
	p.servers[s.index], last.index = last, s.index
	p.servers = p.servers[:end]
	p.order.shrink()
	if last != s {
		p.rank(now, last)
	}
	delete(p.byID, s.spec.ID)
	p.isKnown(s)
	if s.waking {
		p.waking = slices.DeleteFunc(p.waking, func(w *Server) bool { return w == s })
	}
	p.forgetReach(s)
	p.silent = slices.DeleteFunc(p.silent, func(other *Server) bool { return other == s })
	p.version++
}
