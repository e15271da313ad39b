package master

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/policy"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Master owns the pools and answers edges, agents and the HTTP API. Its methods
// are safe for concurrent use.
type Master struct {
	id, version, admin string
	started            balance.Instant
	log                *slog.Logger
	logDropped         func() uint64
	reloadFailed       func() string
	epoch              uint64
	elected            bool
	leaderUntil        atomic.Int64 // until when, as a balance.Instant, leases may be granted in led pools
	limits             limits
	peerChecks
	names *nameService

	masterPools
	wake    chan struct{}
	running atomic.Bool

	peers       peers
	loops       loopGroup
	metricNames metricNames

	raise atomic.Pointer[func(context.Context) error] // raises the generation of fences; nil: there is no election

	keptOverrides
	lostEdges lostEdges
	shared    sharedServers

	unknownPools

	shown
}

// shown is what people see of the master as it changes.
type shown struct {
	events events
	stream stream
	taps   taps
}

// peerChecks is how the master knows who its peers are, and what they may not be.
type peerChecks struct {
	trust       *trust.Keeper // nil: connections are not encrypted
	refusals    trust.Tally
	inside      *inside.Set
	fileServers atomic.Pointer[map[netip.AddrPort]agentKey] // addresses of the servers in the file
	enrolment   *enrolment                                  // nil: this master signs no certificates
	turnAwayLog turnAwayLog
}

// unknownPools counts what concerns pools that do not exist.
type unknownPools struct {
	unknownPoolAsks    atomic.Uint64 // for pools that do not exist
	unknownPoolReports atomic.Uint64
}

// keptOverrides are the drains and other overrides that outlast a master.
type keptOverrides struct {
	drainsFile    string       // Config.DrainsFile
	overrideCount atomic.Int64 // overrides of all pools
	drainsFileMu  sync.Mutex   // held while drainsFile is written
}

// masterPools are the pools, and what new ones are made with. poolsMu guards all but pools.
type masterPools struct {
	pools     atomic.Pointer[poolSet]
	poolsMu   sync.Mutex // serialises changes of the set; guards the following
	openPools bool       // Config.OpenPools
	resolvers []string   // Config.Resolvers
	seeds     *rand.Rand
	poolsMade uint32
	epochs    map[uint16]bool // of the pools' lease ids
}

// poolSet is immutable.
type poolSet struct {
	byName map[string]*pool
	list   []*pool // by name
}

func (s *poolSet) with(p *pool) *poolSet {
	byName := maps.Clone(s.byName)
	byName[p.name] = p
	return newPoolSet(byName)
}

func (s *poolSet) without(p *pool) *poolSet {
	byName := maps.Clone(s.byName)
	delete(byName, p.name)
	return newPoolSet(byName)
}

func newPoolSet(byName map[string]*pool) *poolSet {
	return &poolSet{byName, slices.SortedFunc(maps.Values(byName), func(a, b *pool) int { return cmp.Compare(a.name, b.name) })}
}

// New returns a master with the pools of cfg, or all problems of cfg, joined. It starts nothing: Run, Serve
// and Endpoints do.
func New(cfg Config) (*Master, error) {
	if err := cfg.problems(); err != nil {
		return nil, err
	}
	seed := cmp.Or(cfg.Seed, rand.Uint64())
	m := &Master{
		id:      cmp.Or(cfg.ID, "master"),
		version: cmp.Or(cfg.Version, "devel"),
		admin:   cfg.Admin,

		elected: cfg.Elected,
		log:     cfg.Log,
		limits:  standardLimits,
		names:   newNameService(cfg.Inside),
		wake:    make(chan struct{}, 1),
		started: clock.Now(),
	}
	m.trust, m.inside, m.enrolment = cfg.Trust, cfg.Inside, newEnrolment(cfg.Enrolment, cfg.Trust)
	m.seeds, m.epochs = rand.New(rand.NewPCG(seed, 0x6d617374)), make(map[uint16]bool)
	m.drainsFile = cfg.DrainsFile
	if m.logDropped = cfg.LogDropped; m.logDropped == nil {
		m.logDropped = func() uint64 { return 0 }
	}
	if m.reloadFailed = cfg.ReloadFailed; m.reloadFailed == nil {
		m.reloadFailed = func() string { return "" }
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.epoch = max(1, m.seeds.Uint64()^rand.Uint64()) // not from the seed alone, which two masters may share
	m.peers.init(cfg.Bounds)
	m.pools.Store(newPoolSet(nil))
	if err := m.apply(cfg); err != nil {
		return nil, err
	}
	m.events.clear() // that all servers of the file have joined is no news
	m.events.add(m.started, event{Kind: eventMasterStarted, What: "version " + m.version})
	if err := m.loadOverrides(); err != nil {
		return nil, err
	}
	return m, nil
}

// Inside returns what the master knows about where our own components listen.
func (m *Master) Inside() *inside.Set { return m.inside }

func (m *Master) poolNamed(name string) *pool { return m.pools.Load().byName[name] }

func (m *Master) requestMaintenance() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Reload replaces the pools by those of cfg: new ones are added; in changed ones servers are added, updated,
// or leave, and all settings apply; removed ones refuse new asks and are dropped after their last lease. A cfg
// with problems changes nothing; they are returned, joined. ID, Seed, Log, Version and Admin do not change.
func (m *Master) Reload(cfg Config) error {
	if err := m.apply(cfg); err != nil {
		return err
	}
	m.events.add(clock.Now(), event{Kind: eventConfigReloaded})
	return nil
}

func (m *Master) apply(cfg Config) error {
	cfg.Inside = m.inside
	if err := cfg.problems(); err != nil {
		return err
	}
	before := m.accessRules()
	if err := m.reload(cfg); err != nil {
		return err
	}
	m.noteFileServers(cfg.Pools)
	m.enforceAccess(before)
	return nil
}

func (m *Master) reload(cfg Config) error {
	m.poolsMu.Lock()
	defer m.poolsMu.Unlock()
	set := m.pools.Load()
	next := maps.Clone(set.byName)
	if next == nil {
		next = make(map[string]*pool)
	}
	m.resolvers, cfg.Pools = cfg.Resolvers, slices.Clone(cfg.Pools)
	named := make(map[string]bool, len(cfg.Pools))
	for i := range cfg.Pools {
		if cfg.Pools[i].Resolvers == nil {
			cfg.Pools[i].Resolvers = cfg.Resolvers
		}
		named[cfg.Pools[i].Name] = true
		if next[cfg.Pools[i].Name] != nil {
			continue
		}
		p, err := m.newPool(cfg.Pools[i], true)
		if err != nil {
			return err
		}
		if m.running.Load() && !m.elected {
			p.core.Await(clock.Now(), 0) // it has had no life that edges could know of: pools that share its servers need not wait
		}
		next[p.name] = p
	}
	now := clock.Now()
	for _, pc := range cfg.Pools {
		if err := m.configure(now, next[pc.Name], pc); err != nil {
			return err
		}
	}
	m.openPools = cfg.OpenPools
	m.pools.Store(newPoolSet(next))
	for _, p := range set.list {
		if !named[p.name] && (p.isNamed() || !cfg.OpenPools) {
			m.closePool(now, p)
		}
	}
	m.recallAgents("")
	m.requestMaintenance()
	return nil
}

func (m *Master) configure(now balance.Instant, p *pool, cfg PoolConfig) error {
	for i := range cfg.Servers {
		m.shareServers(p, cfg.Servers[i].Address)
	}
	overrides := p.overridesInForce()
	p.mu.Lock()
	unnamed, err := p.configureLocked(now, cfg)
	p.unlock()
	m.warnOverridden(p, overrides)
	for _, id := range unnamed {
		if a := m.peers.agentOf(p.name, id); a != nil {
			a.drop(errUnnamed)
		}
	}
	return err
}

// errUnnamed disconnects the agent of a server that the file no longer names. It reconnects at once and
// registers its server anew.
var errUnnamed = &wire.Fail{Code: wire.GoingAway, Detail: "the master's file no longer names this server: register it again"}

// closePool closes a pool that the file no longer names, and disconnects its agents.
func (m *Master) closePool(now balance.Instant, p *pool) {
	p.mu.Lock()
	already := p.closing
	p.beginClosingLocked(now)
	left := p.core.Open()
	p.unlock()
	if already {
		return
	}
	m.log.Info("pool removed", "pool", p.name, "leases", left)
	m.events.add(now, event{Kind: eventPoolRemoved, Pool: p.name})
	m.peers.dropAgents(p.name, &wire.Fail{Code: wire.Unknown, Detail: fmt.Sprintf("pool %s has been removed", p.name)})
}

// openPool returns a pool for an agent's registration, or for a lease that an edge still holds. It opens one
// if necessary and allowed; else it returns nil.
func (m *Master) openPool(name string) *pool {
	if p := m.poolNamed(name); p != nil && !p.isClosing() {
		return p
	}
	m.poolsMu.Lock()
	defer m.poolsMu.Unlock()
	set := m.pools.Load()
	if p := set.byName[name]; p != nil && !p.isClosing() {
		return p
	}
	if !m.openPools || len(set.list) >= maxPools || set.byName[name] != nil || !poolName.MatchString(name) {
		return nil
	}
	name = strings.Clone(name) // it shares a read buffer
	p, err := m.newPool(PoolConfig{Name: name, Resolvers: m.resolvers}, false)
	if err != nil {
		return nil
	}
	m.pools.Store(set.with(p))
	m.log.Info("pool opened", "pool", name)
	m.events.add(clock.Now(), event{Kind: eventPoolOpened, Pool: name})
	return p
}

// maxPools bounds the pools that agents and edges can open.
const maxPools = 10_000

// newPool makes a pool whose lease ids no other pool of this master uses, so that an id alone identifies a
// lease. The epoch in the ids follows from the seed: a trial pool of one server shows it. poolsMu must be
// held.
func (m *Master) newPool(cfg PoolConfig, named bool) (*pool, error) {
	for {
		seed := m.seeds.Uint64()
		trial := balance.New(balance.Config{}, policy.Random{}, seed)
		if err := trial.Put(1, balance.ServerSpec{ID: "s", Address: "s:1"}, true); err != nil {
			return nil, err
		}
		grant, err := trial.Pick(1, &balance.Request{})
		if err != nil {
			return nil, err
		}
		if epoch := uint16(grant.Lease >> 48); !m.epochs[epoch] {
			m.epochs[epoch] = true
			p, err := newPool(cfg, named, seed, m.requestMaintenance)
			if err == nil {
				m.poolsMade++
				p.number = m.poolsMade
				p.leaderUntil, p.lead.elected, p.names, p.overrideCount = &m.leaderUntil, m.elected, m.names, &m.overrideCount
				p.onEvents = m.keepNews
				p.onEnds = func(ends []balance.LeaseEnd) { m.sendEnds(p.name, ends) }
			}
			return p, err
		}
	}
}

// pick serves Local and the HTTP API.
func (m *Master) pick(ctx context.Context, name string, edge balance.EdgeID, req *balance.Request) (balance.Grant, error) {
	var grant balance.Grant
	wait, err := m.tryPick(clock.Now(), name, edge, req, &grant)
	if wait != nil {
		return wait(ctx)
	}
	return grant, err
}

// tryPick answers at once with grant, or returns a function that waits for the answer.
func (m *Master) tryPick(began balance.Instant, name string, edge balance.EdgeID, req *balance.Request, grant *balance.Grant) (func(context.Context) (balance.Grant, error), error) {
	p := m.poolNamed(name)
	if p == nil {
		m.unknownPoolAsks.Add(1)
		return nil, unknownPool(name)
	}
	p.mu.Lock()
	asked := req
	if req.Edge != edge {
		p.scratch = *req
		p.scratch.Edge = edge
		asked = &p.scratch
	}
	wait, err := p.pickOrWaitLocked(began, asked, grant)
	if wait != nil {
		p.unlock()
		req := own(req, edge)
		return func(ctx context.Context) (balance.Grant, error) {
			grant, _, err := m.awaitGrant(ctx, p, began, req, wait)
			return grant, err
		}, nil
	}
	p.countAnswerLocked(began, newAsked(asked), err, 0)
	if p.stats.localAnswers++; p.stats.localAnswers%timingSample == 0 {
		p.stats.answerTimes.Observe(answerScale, clock.Now().Sub(began), timingSample)
	}
	p.unlock()
	return nil, err
}

// timingSample: one of so many immediate local answers is timed and counts for all, since reading the clock
// takes a third as long as the decision.
const timingSample = 16

func unknownPool(name string) *balance.Refusal {
	return &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("no pool %q here", clip(name))}
}

// Run does the periodic work until ctx ends: leases that expire, snapshots that are due, health checks,
// removed pools that are empty. It returns nil.
func (m *Master) Run(ctx context.Context) error {
	m.running.Store(true)
	defer m.running.Store(false)
	defer m.stream.end()
	defer m.taps.stop()
	var checks sync.WaitGroup
	checks.Go(func() { m.runChecks(ctx) })
	checks.Go(func() { m.runNames(ctx) })
	defer checks.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-timer.C:
		}
		next := m.maintain()
		if next == 0 {
			timer.Stop()
			continue
		}
		timer.Reset(max(0, next.Sub(clock.Now())))
	}
}

// maintain visits every pool once and returns when to do so again; zero: when woken.
func (m *Master) maintain() (next balance.Instant) {
	for _, p := range m.pools.Load().list {
		watched := m.peers.feedOf(p.name) != nil
		now := clock.Now()
		p.mu.Lock()
		p.next = p.core.Expire(now)
		p.serveGroupLocked(now)
		if len(p.waits) > 0 {
			p.next = sooner(p.next, now.Add(queueRecheck))
		}
		due, loads, again := p.pushDueLocked(now, watched)
		at := sooner(p.next, again)
		turns := !p.closing && (p.outagesChanged || now >= p.lastOutageLog.Add(outageLogEvery))
		if turns {
			p.outagesChanged, p.lastOutageLog = false, now
		}
		if !p.closing {
			at = sooner(at, p.lastOutageLog.Add(outageLogEvery))
		}
		empty, unused := p.closing && p.core.Open() == 0, p.isUnusedLocked(now)
		p.mu.Unlock()
		if due {
			m.sendChanges(now, p, loads)
		}
		if turns {
			m.logOutages(now, p)
		}
		if unused {
			m.closePool(now, p)
		}
		if empty || unused {
			m.dropPool(p)
			continue
		}
		next = sooner(next, at)
	}
	return next
}

// dropPool removes a closed pool from the set, unless a reload has reopened it.
func (m *Master) dropPool(p *pool) {
	m.poolsMu.Lock()
	defer m.poolsMu.Unlock()
	if p.isClosing() && m.poolNamed(p.name) == p {
		m.pools.Store(m.pools.Load().without(p))
		p.forgetOverrides()
		m.dropShared(p)
		m.recallAgents(p.name)
		if f := m.peers.feedOf(p.name); f != nil {
			f.forget()
		}
		for _, e := range m.watchersOf(p.name) {
			e.send((&wire.Refused{Seq: wire.WatchSeq, Refusal: *e.unknownPool(p.name)}).Append(nil))
		}
	}
}

// sooner returns the earlier of two times; zero is never.
func sooner(a, b balance.Instant) balance.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (p *pool) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

func (p *pool) isNamed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.named
}
