package master

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// pool is a balance.Pool with its lock and what the master keeps with it. Pools share nothing but the wake
// function, unless they share servers: then they share the lock.
type pool struct {
	name        string
	number      uint32                        // unique in this master's life
	wake        func()                        // has Master.Run look at the pool; does not block
	onEnds      func(ends []balance.LeaseEnd) // tells agents of leases that have ended; called without mu. Set once, nil in some tests
	leaderUntil *atomic.Int64                 // until when, as a balance.Instant, leases may be granted in led pools

	access atomic.Pointer[access] // which peers may use it; never nil
	names  *nameService           // looks up servers' names; set once, nil in some tests

	overrideCount *atomic.Int64 // overrides of all pools of the master

	mu   poolLock // held over memory work only and released by unlock; guards the following
	core *balance.Pool
	cfg  PoolConfig // defaults are filled in
	origin
	poolWaits
	lead        lead
	tags        *tags
	closing     bool                             // removed: takes no asks, and is dropped after its last lease
	overrides   map[overrideKey]balance.Override // what operators said last, also of servers that have left; overrideCount counts them
	declared    declared
	nameServers map[balance.ServerID]*nameServer // servers that are one address of a name
	poolScratch
	next    balance.Instant // when core needs Expire; zero: not before something else happens
	stats   poolStats
	refused balance.Refusals

	changed bool // since the last push
	poolPushes
}

// poolScratch is the memory that is used again, so that a pick does not allocate. The lock of the pool guards it.
type poolScratch struct {
	scratch  balance.Request   // copy of a caller's request, so that a pick does not allocate
	released []balance.Release // reused by serveQueueLocked
	turn     uint64            // lockGroup.turn when the queue was served last
}

// poolPushes is when edges were told of the pool, the log of outages, and the events that are still to be kept.
type poolPushes struct {
	localFrom      time.Duration   // core's, when mu was released last
	lastPush       balance.Instant // time of the last push
	lastLoads      balance.Instant
	outagesChanged bool               // servers may have gone out or come back since they were logged
	lastOutageLog  balance.Instant    // time of that log
	canaryHeld     bool               // as it was logged
	news           []event            // that unlock hands to onEvents
	onEvents       func(news []event) // keeps events; called without mu. Set once, nil in some tests
	toldVersion    uint64             // core's, when tellGroupLocked looked last
}

// origin is how a pool came to be.
type origin struct {
	named      bool // by the file; otherwise opened by a peer
	created    balance.Instant
	emptySince balance.Instant // opened by a peer, and nothing has been in it since then; zero: there is something
}

// newPool returns a pool without servers; configureLocked adds those of cfg.
func newPool(cfg PoolConfig, named bool, seed uint64, wake func()) (*pool, error) {
	cfg = cfg.withDefaults()
	cfg.Servers = nil
	told, chosen, err := cfg.core()
	if err != nil {
		return nil, err
	}
	proofs, err := newTags()
	if err != nil {
		return nil, err
	}
	p := &pool{name: cfg.Name, tags: proofs, wake: wake, cfg: cfg, changed: true, core: balance.New(told, chosen, seed), origin: origin{named: named, created: clock.Now()},
		overrideCount: new(atomic.Int64), overrides: make(map[overrideKey]balance.Override), poolWaits: poolWaits{waits: make(map[balance.WaitID]*waitingAsk)}}
	p.mu.group.Store(&lockGroup{pools: []*pool{p}})
	p.access.Store(newAccess(&cfg, ignore))
	p.core.Await(p.created, p.created.Add(cfg.Grace))
	return p, nil
}

// Methods whose names end in Locked need mu held.

// pickLocked opens a lease and writes it to grant. It keeps nothing of the request.
func (p *pool) pickLocked(now balance.Instant, req *balance.Request, grant *balance.Grant) error {
	switch {
	case p.closing:
		return &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %s has been removed", p.name)}
	case !p.isLeadingLocked(now):
		return p.notLeaderRefusalLocked()
	case req.Deadline != 0 && now >= req.Deadline:
		return &balance.Refusal{Reason: balance.Shed, Detail: "the deadline had passed when the ask was read"}
	case req.Hold < 0 || req.Hold > longestHold:
		return &balance.Refusal{Reason: balance.Malformed, Detail: fmt.Sprintf("hold %v, want 0 to %v", req.Hold, longestHold)}
	}
	var err error
	if *grant, err = p.core.Pick(now, req); err == nil {
		p.takeTurnLocked()
	}
	p.sealLocked(grant)
	return err
}

// sealLocked adds fence and tag to a grant of core. A lease that only its edge ends, as nearly all do, needs
// no tag.
func (p *pool) sealLocked(grant *balance.Grant) {
	grant.Fence = p.lead.fence
	if grant.Expires != 0 {
		grant.Tag = p.tags.of(grant.Lease)
		p.expireByLocked(grant.Expires)
	}
}

// countAnswerLocked counts the final answer to an ask. For the first ask of a request no server is excluded.
func (p *pool) countAnswerLocked(now balance.Instant, req asked, err error, waited time.Duration) {
	p.stats.picks[verdict(err)]++
	r := refusal(err)
	p.refused.Asked(now, req.id, req.retry, r, waited)
	if r != nil {
		p.core.Refused(now, req.edge, r, waited)
	}
}

// asked is what is kept of an asked request.
type asked struct {
	id    uint64         // balance.HashID of its id; zero: it has none
	retry bool           // a server has failed it before
	edge  balance.EdgeID // a string of its own
}

func newAsked(req *balance.Request) asked { return asked{req.ID, len(req.Exclude) > 0, req.Edge} }

// verdict returns the index of an answer in poolStats.picks: 0 is granted, else its Reason.
func verdict(err error) int {
	if r := refusal(err); r != nil && int(r.Reason) < verdicts {
		return int(r.Reason)
	}
	return 0
}

func refusal(err error) *balance.Refusal {
	if err == nil {
		return nil
	}
	if r, ok := err.(*balance.Refusal); ok {
		return r // without errors.As, which allocates
	}
	var r *balance.Refusal
	errors.As(err, &r)
	return r
}

// endByEdgeLocked ends a lease for an edge, if it is that edge's.
func (p *pool) endByEdgeLocked(now balance.Instant, edge balance.EdgeID, id balance.LeaseID, o balance.Outcome, from source) balance.Ending {
	how := p.core.DoneBy(now, edge, id, o)
	switch how {
	case balance.Ended:
		p.leaseEndedLocked(now, &o)
	case balance.Foreign:
		p.stats.foreignLeases[from][claimDone]++
	}
	return how
}

// endByTagLocked ends a lease for a peer that is not its edge and proves by the tag that it was sent the
// lease. server restricts it to the leases of one server; empty: any.
func (p *pool) endByTagLocked(now balance.Instant, l balance.TaggedLease, server balance.ServerID, o balance.Outcome, from source) balance.Ending {
	has, open := p.core.Lease(l.ID)
	if !open {
		return balance.NotOpen
	}
	want := has.Tag
	if !has.Adopted {
		want = p.tags.of(l.ID)
	}
	if l.Tag == 0 || l.Tag != want || server != "" && server != has.Server {
		p.stats.foreignLeases[from][claimDone]++
		return balance.Foreign
	}
	p.endByMasterLocked(now, l.ID, o)
	return balance.Ended
}

// endByMasterLocked ends a lease for the master itself.
func (p *pool) endByMasterLocked(now balance.Instant, id balance.LeaseID, o balance.Outcome) {
	if p.core.Done(now, id, o) {
		p.leaseEndedLocked(now, &o)
	}
}

// leaseEndedLocked handles the consequences of the end of a lease.
func (p *pool) leaseEndedLocked(now balance.Instant, o *balance.Outcome) {
	switch o.Result {
	case balance.Fault, balance.Broken, balance.Unreachable:
		p.markChangedLocked() // the server may have been ejected
	}
	if p.closing && p.core.Open() == 0 {
		p.wake() // the pool can be dropped
	}
	if len(p.mu.group.Load().pools) > 1 {
		p.serveGroupLocked(now) // before the next ask of this pool takes what others have waited for
	}
}

// storeReportLocked stores a report and counts it.
func (p *pool) storeReportLocked(now balance.Instant, r *balance.Report, from source) error {
	err := p.core.Report(now, r)
	word := reportKept
	if err != nil && !errors.As(err, new(*balance.Contradiction)) {
		word = reportFlawed
	}
	p.stats.reports[from][word]++
	return err
}

// putServerLocked adds a server or updates it: by the file if fixed, else by its agent. What operators said of
// it stays.
func (p *pool) putServerLocked(now balance.Instant, spec balance.ServerSpec, fixed bool) error {
	if fixed {
		spec = p.declared.fileSpec(spec.ID)
	} else {
		spec, fixed = p.declared.setAgent(spec)
	}
	isNew := !p.core.Has(spec.ID)
	if err := p.core.Put(now, spec, fixed); err != nil {
		return err
	}
	if isNew {
		p.noteLocked(event{Kind: eventServerJoined, Server: string(spec.ID), By: joinedBy(fixed)})
	}
	if _, made := p.nameServers[spec.ID]; !made {
		p.setLocationLocked(now, &spec)
	}
	p.markChangedLocked()
	return p.reapplyOverridesLocked(now, spec.ID)
}

// joinedBy says who has added a server: the file, if it names the server, or its agent.
func joinedBy(fixed bool) string {
	if fixed {
		return "the file"
	}
	return "its agent"
}

func (p *pool) removeServerLocked(now balance.Instant, id balance.ServerID) {
	p.core.Goodbye(now, id)
	p.noteLocked(event{Kind: eventServerLeft, Server: string(id), By: "its agent"})
	p.declared.dropAgent(id)
	p.markChangedLocked()
}

// edgeLostLocked has the leases of a disconnected edge end after the grace period.
func (p *pool) edgeLostLocked(now balance.Instant, edge balance.EdgeID) {
	p.core.Lost(now, edge)
	p.expireByLocked(now.Add(p.cfg.Grace))
}

// edgeDeniedLocked ends the leases of an edge that was denied.
func (p *pool) edgeDeniedLocked(now balance.Instant, edge balance.EdgeID) {
	p.core.Denied(now, edge)
	p.markChangedLocked()
}

func (p *pool) edgeLeftLocked(now balance.Instant, edge balance.EdgeID) {
	p.core.Left(now, edge)
	p.markChangedLocked()
}

// confirmLeaseLocked adds or confirms a lease that an edge says it holds.
func (p *pool) confirmLeaseLocked(now balance.Instant, edge balance.EdgeID, h *wire.Hold) error {
	if h.Age < 0 || h.Age > longestHold || h.Left < 0 || h.Left > longestHold {
		return fmt.Errorf("pool %s: lease %s: age %v and %v left, want 0 to %v", p.name, h.Lease, h.Age, h.Left, longestHold)
	}
	if err := p.core.Hold(now, edge, &balance.Held{Lease: h.Lease, Server: h.Server, Age: h.Age, Left: h.Left, Tag: h.Tag, Size: h.Size, Class: h.Class}); err != nil {
		if errors.Is(err, balance.ErrForeign) {
			p.stats.foreignLeases[fromEdge][claimHold]++
		}
		return err
	}
	if h.Left == 0 {
		p.core.Owes(now, edge, h.Lease, !h.Idle)
	}
	if h.Left > 0 {
		p.expireByLocked(now.Add(h.Left))
	}
	return nil
}

// openChosenLocked opens a lease that an edge has given itself.
func (p *pool) openChosenLocked(now balance.Instant, c *wire.Chosen) error {
	if !p.isLeadingLocked(now) {
		return nil // the leader keeps the ledger
	}
	err := p.core.Chosen(now, &c.Request, c.Lease, c.Server)
	if errors.Is(err, balance.ErrForeign) {
		p.stats.foreignLeases[fromEdge][claimChosen]++
	}
	if err == nil {
		p.stats.chosen++
		p.refused.Asked(now, c.Request.ID, false, nil, 0)
	}
	return err
}

// expireByLocked has Expire called at a time, unless it is called earlier anyway.
func (p *pool) expireByLocked(at balance.Instant) {
	if p.next == 0 || at < p.next {
		p.next = at
		p.wake()
	}
}

// markChangedLocked has watching edges sent the pool's changes.
func (p *pool) markChangedLocked() {
	if !p.changed || !p.outagesChanged {
		p.changed, p.outagesChanged = true, true
		p.wake()
	}
}

// configureLocked applies a valid config. It returns the servers that the file no longer names.
func (p *pool) configureLocked(now balance.Instant, cfg PoolConfig) (unnamed []balance.ServerID, err error) {
	cfg = cfg.withDefaults()
	if !cfg.alike(&p.cfg) { // a new configuration drops what core remembers of keys
		told, chosen, err := cfg.core()
		if err != nil {
			return nil, err
		}
		p.core.Configure(now, told, chosen)
	}
	before := make(map[balance.ServerID]*balance.ServerSpec)
	for i := range p.cfg.Servers {
		if !p.closing && !p.cfg.isPattern(&p.cfg.Servers[i]) {
			before[p.cfg.Servers[i].ID] = &p.cfg.Servers[i]
		}
	}
	p.cfg, p.closing, p.named = cfg, false, true
	p.access.Store(newAccess(&cfg, ignore))
	told := p.declared.tells
	p.declared.setFile(&cfg)
	unnamed = p.unnameMembersLocked(now)
	p.markChangedLocked()
	for _, spec := range cfg.Servers {
		if cfg.isPattern(&spec) {
			_, gone := p.expandPatternLocked(now, &spec) // the members exist already, unless the file has just gained the server
			unnamed = append(unnamed, gone...)
			p.names.requestFollow()
			continue
		}
		old := before[spec.ID]
		delete(before, spec.ID)
		if old != nil && reflect.DeepEqual(*old, spec) && told[spec.ID] == p.declared.tells[spec.ID] {
			continue // a server that has said goodbye is not called back
		}
		if err := p.putServerLocked(now, spec, true); err != nil {
			return nil, err
		}
	}
	for id := range before {
		p.core.Unname(now, id)
		p.noteLocked(event{Kind: eventServerLeft, Server: string(id), By: "the file"})
	}
	return append(unnamed, slices.Sorted(maps.Keys(before))...), nil
}

// isUnusedLocked reports whether a peer has opened the pool, and nothing has been in it for so long that it can be removed.
func (p *pool) isUnusedLocked(now balance.Instant) bool {
	if servers, _ := p.core.Servers(); p.named || p.closing || servers > 0 || p.core.Open() > 0 || len(p.overrides) > 0 {
		p.emptySince = 0
		return false
	}
	if p.emptySince == 0 {
		p.emptySince = now
	}
	return now.Sub(p.emptySince) >= unusedPoolTime
}

// unusedPoolTime is how long a pool that a peer has opened stays when nothing is in it.
const unusedPoolTime = time.Minute

// beginClosingLocked closes the pool: it takes nothing new and is dropped after its last lease.
func (p *pool) beginClosingLocked(now balance.Instant) {
	p.closing, p.nameServers = true, nil
	for _, v := range p.core.Views(now) {
		p.core.Unname(now, v.Spec.ID)
	}
	p.endAllWaitsLocked(now, &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %s has been removed", p.name)})
	p.markChangedLocked()
}
