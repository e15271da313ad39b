package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
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

// ByScore is the Policy that takes the lowest score; among equals, any.
type ByScore struct{ Scorer }

// Choose looks at every candidate. A pool does so only where the request itself
// leaves few of its servers open.
func (p ByScore) Choose(now Instant, req *Request, candidates []*Server, rng *rand.Rand) int {
	best, lowest, ties := 0, p.Score(now, candidates[0]), 1
	for i, s := range candidates[1:] {
		switch score := p.Score(now, s); {
		case score < lowest:
			best, lowest, ties = i+1, score, 1
		case score == lowest:
			if ties++; rng.IntN(ties) == 0 {
				best = i + 1
			}
		}
	}
	return best
}

// Config is what a pool is told once.
type Config struct {
	Name        string
	Dispatch    bool          // servers are told first; only passed on in snapshots
	LeaseTime   time.Duration // time limit of redirected leases and of those without an edge; zero: a minute
	Grace       time.Duration // how long a lost edge's leases are kept for its return; zero: 5 s
	QueueSize   int           // requests that may wait while every server is at its limit; zero: none, and servers have no limit
	QueueWait   time.Duration // the longest wait; zero: 10 s
	Affinity    Affinity
	Distances   map[string]map[string]float64                                           // from a client's location to a server's: how much dearer, 0 for not at all
	Utilization func(metric func(name string) (value float64, ok bool)) (float64, bool) // makes one utilisation of a server's metrics; nil: the application's, else the CPU's
	Decisions   int                                                                     // how many recent decisions are kept to be explained; zero: none
	RoundTrip   time.Duration                                                           // between edge and master, as far as it is known; zero: a millisecond
}

const (
	defaultLeaseTime = time.Minute
	defaultGrace     = 5 * time.Second
	defaultQueueWait = 10 * time.Second
	defaultRoundTrip = time.Millisecond
)

// Pool is the servers that can do the same processing, their ledger, and the policy
// for choosing among them.
type Pool struct {
	cfg        Config
	policy     Policy
	scorer     Scorer // of policy, or nil
	rng        *rand.Rand
	lot        uint64 // what draw gave last
	ledger     ledger
	order      order     // of servers by score, if there is a scorer
	servers    []*Server // in order of arrival; Server.index points back
	byID       map[ServerID]*Server
	edges      []EdgeID // interned; 0 is nobody
	edgeNo     map[EdgeID]int32
	lastEdge   int32
	scratch    []*Server
	version    uint64
	times      times
	names      map[string]string // of metrics, interned
	census     census
	crowdedOut bool // others fill nearly the whole pool
	loose      bool // limits hold nobody back, for a server has none
	queue      queue
	recent     recent
	displaced  []Release // from the queue, since Serve last ran
	warmUntil  Instant   // nobody is warming up from then on
	returns    Instant   // the first ejection is over then
	mean       float64   // leases of a server that is warm; infinite while none is
	tended     int       // the server that was looked after last
	tendedAt   Instant
	serials    uint32 // given out
}

// New returns an empty pool. Two pools with the same seed, told the same things,
// make the same choices.
func New(cfg Config, policy Policy, seed uint64) *Pool {
	rng := rand.New(rand.NewPCG(seed, 0x65766b6c))
	p := &Pool{
		rng:    rng,
		lot:    rng.Uint64(),
		ledger: ledger{epoch: uint16(rng.Uint32N(1<<16-1)) + 1},
		byID:   make(map[ServerID]*Server),
		edges:  []EdgeID{""},
		edgeNo: map[EdgeID]int32{"": 0},
		mean:   math.Inf(1),
		names:  make(map[string]string),
	}
	p.Configure(0, cfg, policy)
	return p
}

// Configure changes what the pool was told by New. Leases, what is learnt, and who
// waits stay; a queue that is longer than its new size shrinks as it is served.
func (p *Pool) Configure(now Instant, cfg Config, policy Policy) {
	cfg.LeaseTime = cmp.Or(cfg.LeaseTime, defaultLeaseTime)
	cfg.Grace = cmp.Or(cfg.Grace, defaultGrace)
	cfg.QueueWait = cmp.Or(cfg.QueueWait, defaultQueueWait)
	cfg.Affinity.Keys = cmp.Or(cfg.Affinity.Keys, defaultKeys)
	cfg.RoundTrip = cmp.Or(cfg.RoundTrip, defaultRoundTrip)
	p.cfg, p.policy, p.scorer = cfg, policy, nil
	if by, ok := policy.(ByScore); ok {
		p.scorer = by.Scorer
	}
	p.queue.size = cfg.QueueSize
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
	if p.queue.holds(req.Priority) {
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
	p.tend(now)
	if p.scorer != nil && len(req.Labels) == 0 {
		if p.personal(req) {
			return p.closest(now, req)
		}
		if s := p.lowest(req); s != nil {
			return s
		}
	}
	candidates := p.candidates(now, req)
	if len(candidates) == 0 {
		return nil
	}
	return candidates[p.policy.Choose(now, req, candidates, p.rng)]
}

// lowest returns the first server in order that the request does not exclude. It
// gives up after a few: whoever excludes more is served by looking at all.
func (p *Pool) lowest(req *Request) *Server {
	first := p.order.first()
	if first < 0 {
		return nil
	}
	if s := p.servers[first]; len(req.Exclude) == 0 || s.suits(req) {
		return s
	}
	var few [maxBest]int32
	for _, i := range p.order.best(few[:0], len(req.Exclude)+1) {
		if s := p.servers[i]; s.suits(req) {
			return s
		}
	}
	return nil
}

// grant opens a lease on a server and fills in what the edge is told of it.
func (p *Pool) grant(now Instant, req *Request, s *Server, g *Grant) *Refusal {
	l, ok := p.ledger.add(s, p.edge(req.Edge), now, p.limit(now, req))
	if !ok {
		return &Refusal{Reason: Saturated, RetryAfter: time.Second, Detail: fmt.Sprintf("pool %s has %d open leases, the most it can have", p.cfg.Name, p.ledger.open)}
	}
	l.crowd = float32(s.Load(now) + 1)
	if p.recent.affords(now) {
		p.note(now, l.id, req, s)
	}
	if key := p.hash(req.Key); key != 0 {
		s.memory.use(key, p.cfg.Affinity.Keys)
	}
	s.granted++
	p.hold(now, s, 1)
	g.Lease, g.Server, g.Address, g.Public, g.Expires = l.id, s.answer.id, s.answer.address, s.answer.public, l.expires
	g.Serial = s.answer.serial
	return nil
}

// limit returns when a lease for the request ends by itself. Nobody's connection
// vouches for a redirected link or an edgeless one, so those always have a limit.
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
	if p.edges[p.lastEdge] == id {
		return p.lastEdge
	}
	n, ok := p.edgeNo[id]
	if !ok {
		n = int32(len(p.edges))
		p.edges = append(p.edges, EdgeID(string([]byte(id))))
		p.edgeNo[p.edges[n]] = n
	}
	p.lastEdge = n
	return n
}

// hold adds n, which may be negative, to the server's open leases.
func (p *Pool) hold(now Instant, s *Server, n int32) {
	if s.reporting {
		s.settle(now)
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

// Lease is what a pool knows of an open lease.
type Lease struct {
	ID      LeaseID
	Server  ServerID
	Edge    EdgeID // empty: nobody's
	Started Instant
	Expires Instant // zero: with its edge
}

// Lease returns an open lease.
func (p *Pool) Lease(id LeaseID) (Lease, bool) {
	l := p.ledger.find(id)
	if l == nil {
		return Lease{}, false
	}
	return Lease{ID: l.id, Server: l.server.spec.ID, Edge: p.edges[l.edge], Started: l.started, Expires: l.expires}, true
}

func (p *Pool) end(now Instant, l *lease, o Outcome) {
	s, crowd := l.server, float64(l.crowd)
	p.ledger.drop(l)
	if o.Result == OK && o.Duration > 0 {
		p.learn(now, s, crowd, o.Duration)
		p.probe(s, o.Duration)
	}
	if o.Result == Refused { // as good as a report that the slots are taken; it fades like one
		s.load.correct(now, s.load.at(now)+s.capacity.slots)
	}
	if s.health.observe(now, o.Result, func() bool { return p.canSpare(now) }) {
		p.warm(s, s.health.ejectedUntil)
	}
	p.hold(now, s, -1)
	if s.gone && s.leases == 0 {
		p.forget(now, s)
	}
}

// canSpare tells whether one more server may be ejected: never more than a third.
func (p *Pool) canSpare(now Instant) bool {
	ejected := 0
	for _, s := range p.servers {
		if s.State(now) == Ejected {
			ejected++
		}
	}
	return 3*(ejected+1) <= len(p.servers)
}

// Hold enters a lease that another life of this pool granted and its edge still
// holds, or confirms one that is open. A zero left lifts the time limit. The lease may
// be on a server of which nobody has told this life yet: edges are often back before
// agents are. Such a server counts as one that has left, until Put says otherwise.
func (p *Pool) Hold(now Instant, edge EdgeID, id LeaseID, server ServerID, age, left time.Duration) error {
	if id == 0 {
		return fmt.Errorf("pool %s: lease 0 on server %s is none", p.cfg.Name, server)
	}
	var expires Instant
	if left > 0 {
		expires = now.Add(left)
	}
	if l := p.ledger.find(id); l != nil {
		p.ledger.limit(l, expires)
		return nil
	}
	if server == "" || len(server) > maxID {
		return fmt.Errorf("pool %s: lease %s is on a server whose id has %d bytes, want 1 to %d", p.cfg.Name, id, len(server), maxID)
	}
	s := p.byID[server]
	if s == nil {
		s = p.admit(now, ServerSpec{ID: ServerID(strings.Clone(string(server)))})
		s.gone = true
	}
	if !p.ledger.adopt(id, s, p.edge(edge), now.Add(-age), expires) {
		if s.gone && s.leases == 0 {
			p.forget(now, s)
		}
		return fmt.Errorf("pool %s: lease %s: the ledger is full", p.cfg.Name, id)
	}
	p.hold(now, s, 1)
	return nil
}

// Lost says that the connection to an edge is gone. Its leases end when the grace
// period is over, unless Hold confirms them before.
func (p *Pool) Lost(now Instant, edge EdgeID) { p.cut(now, edge, now.Add(p.cfg.Grace)) }

// Left says that an edge went in good order: its routed leases end with it.
// Redirected ones, which have a limit of their own, go on.
func (p *Pool) Left(now Instant, edge EdgeID) {
	p.cut(now, edge, now)
	p.Expire(now)
}

func (p *Pool) cut(now Instant, edge EdgeID, by Instant) {
	n, known := p.edgeNo[edge]
	if !known || n == 0 {
		return
	}
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 && l.edge == n && l.expires == 0 {
			p.ledger.limit(l, by)
		}
	}
}

// Expire ends the leases whose time is over and returns when to call it, and Serve,
// next; zero: when something else has been called.
func (p *Pool) Expire(now Instant) (next Instant) {
	for {
		l, next := p.ledger.due(now)
		if l == nil {
			if p.queue.length > 0 { // external load may fade without a word
				next = min(cmp.Or(next, forever), p.queue.soonest, now.Add(tendCycle))
			}
			return next
		}
		p.end(now, l, Outcome{Result: Expired})
	}
}

// Put adds a server or changes what is declared of one. A server that had said
// goodbye or was draining is back. fixed says that the file names it: then it is
// never forgotten, and what the file said of it outweighs its agent's word.
func (p *Pool) Put(now Instant, spec ServerSpec, fixed bool) error {
	var problems []error
	spec.Validate(func(field, problem string) {
		problems = append(problems, fmt.Errorf("server %q: %s: %s", spec.ID, field, problem))
	})
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	s := p.byID[spec.ID]
	if s == nil {
		s = p.admit(now, spec)
	} else if s.fixed && !fixed {
		spec = merge(s.spec, spec)
	}
	p.version++
	if s.gone {
		p.warm(s, now)
	}
	if told := (answer{spec.ID, spec.Address, spec.Public, s.answer.serial}); told != s.answer {
		p.serials++
		told.serial = p.serials
		s.answer = told
	}
	s.fixed = s.fixed || fixed
	p.declare(s, spec)
	s.gone, s.draining = false, false
	p.rank(now, s)
	return nil
}

// admit enters a server that the pool does not have.
func (p *Pool) admit(now Instant, spec ServerSpec) *Server {
	p.version++
	s := &Server{pool: p, index: int32(len(p.servers)), health: health{success: 1}, pace: pace{last: now}, details: new(details)}
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
	s.service = 1 / s.speed
	if p.times.weight > 0 {
		p.assess(s)
	}
	p.survey(s)
}

// merge fills what the file left open from the agent's word.
func merge(file, agent ServerSpec) ServerSpec {
	file.Public = cmp.Or(file.Public, agent.Public)
	file.Slots = cmp.Or(file.Slots, agent.Slots)
	file.Speed = cmp.Or(file.Speed, agent.Speed)
	file.Location = cmp.Or(file.Location, agent.Location)
	if len(file.Labels) == 0 {
		file.Labels = agent.Labels
	}
	return file
}

// Drain stops or, with false, resumes giving work to a server.
func (p *Pool) Drain(now Instant, id ServerID, on bool) error {
	s := p.byID[id]
	if s == nil {
		return fmt.Errorf("pool %s has no server %q", p.cfg.Name, id)
	}
	p.version++
	s.draining = on
	p.rank(now, s)
	return nil
}

// Goodbye says that a server leaves. It gets nothing new and is forgotten with its
// last lease; one that the file names stays, out of rotation, for its return.
func (p *Pool) Goodbye(now Instant, id ServerID) {
	s := p.byID[id]
	if s == nil {
		return
	}
	p.version++
	s.gone = true
	p.rank(now, s)
	if s.leases == 0 {
		p.forget(now, s)
	}
}

// Unname says that the file names a server no more: it leaves as any other would.
func (p *Pool) Unname(now Instant, id ServerID) {
	if s := p.byID[id]; s != nil {
		s.fixed = false
		p.Goodbye(now, id)
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
	p.version++
}
