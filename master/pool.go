package master

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// pool is the lock around a balance.Pool, with what the master itself keeps of it.
// Pools share nothing but the wake function.
type pool struct {
	name   string
	number uint32        // no other pool of the master has had it
	wake   func()        // has the master's loop look at the pool; never blocks
	reign  *atomic.Int64 // until when, as a balance.Instant, what is led may be granted

	access atomic.Pointer[access] // who may speak in it; never nil
	names  *nameService           // set once: looks servers' names up; nil in tests of the pool alone

	remembered *atomic.Int64 // drains of all pools of the master

	mu       sync.Mutex // held over memory work only, and let go of by unlock; guards what follows
	core     *balance.Pool
	cfg      PoolConfig // with defaults filled
	named    bool       // by the file; otherwise an agent's registration made it
	waits    map[balance.WaitID]*pending
	lead     lead
	tags     *tags
	closing  bool                               // removed: no new asks, and gone with its last lease
	drains   map[balance.ServerID]balance.Drain // what operators said last, also of servers that have left; remembered counts them
	declared declared
	members  map[balance.ServerID]*member // servers that are one address of a name
	scratch  balance.Request              // where a caller's request is copied, so that a pick allocates nothing
	next     balance.Instant              // when core wants Expire; zero: when something else has been called
	tally    tally
	refused  balance.Refusals
	born     balance.Instant

	changed   bool            // since edges were told
	told      balance.Instant // when that was
	loadsTold balance.Instant
	turned    bool            // since the log was told who is out
	turnsTold balance.Instant // when that was

	released []balance.Release // where core puts the waits that are over
}

// newPool returns a pool without servers; configure puts those of cfg.
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
	p := &pool{name: cfg.Name, tags: proofs, named: named, wake: wake, cfg: cfg, changed: true, core: balance.New(told, chosen, seed), born: clock.Now(),
		remembered: new(atomic.Int64), drains: make(map[balance.ServerID]balance.Drain), waits: make(map[balance.WaitID]*pending)}
	p.access.Store(newAccess(&cfg, ignore))
	return p, nil
}

// All methods from here on want mu held.

// pick opens a lease, and puts the grant where the caller has room. It keeps nothing of the request.
func (p *pool) pick(now balance.Instant, req *balance.Request, grant *balance.Grant) error {
	switch {
	case p.closing:
		return &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %s has been removed", p.name)}
	case !p.leads(now):
		return p.notLeader()
	case req.Deadline != 0 && now >= req.Deadline:
		return &balance.Refusal{Reason: balance.Shed, Detail: "the deadline had passed when the ask was read"}
	case req.Hold < 0 || req.Hold > longestHold:
		return &balance.Refusal{Reason: balance.Malformed, Detail: fmt.Sprintf("hold %v, want 0 to %v", req.Hold, longestHold)}
	}
	var err error
	*grant, err = p.core.Pick(now, req)
	p.seal(grant)
	return err
}

// seal puts what is the master's into a grant of core. A lease that its edge alone ends, as
// nearly all are, needs no tag.
func (p *pool) seal(grant *balance.Grant) {
	grant.Fence = p.lead.fence
	if grant.Expires != 0 {
		grant.Tag = p.tags.of(grant.Lease)
		p.soon(grant.Expires)
	}
}

// count enters the final answer to an ask of a request, for which no server is excluded at first.
func (p *pool) count(now balance.Instant, req asked, err error, waited time.Duration) {
	p.tally.picks[verdict(err)]++
	p.refused.Asked(now, req.id, req.retry, refusal(err), waited)
}

// asked is what is kept of the request of an ask.
type asked struct {
	id    uint64 // balance.HashID of its id; zero: it has none
	retry bool   // a server has failed it before
}

func newAsked(req *balance.Request) asked { return asked{req.ID, len(req.Exclude) > 0} }

// verdict is the index of an answer in tally.picks: 0 is granted, else its Reason.
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
		return r // at once: errors.As allocates
	}
	var r *balance.Refusal
	errors.As(err, &r)
	return r
}

// done ends a lease by the word of an edge, which ends its own only.
func (p *pool) done(now balance.Instant, edge balance.EdgeID, id balance.LeaseID, o balance.Outcome, from source) balance.Ending {
	how := p.core.DoneBy(now, edge, id, o)
	switch how {
	case balance.Ended:
		p.ended(&o)
	case balance.Foreign:
		p.tally.foreign[from][wordDone]++
	}
	return how
}

// doneByTag ends a lease by the word of one that is not its edge, and has to prove that it was
// told of the lease. One that is for a server only is for its agent, empty: for anybody.
func (p *pool) doneByTag(now balance.Instant, l balance.TaggedLease, server balance.ServerID, o balance.Outcome, from source) balance.Ending {
	has, open := p.core.Lease(l.ID)
	if !open {
		return balance.NotOpen
	}
	want := has.Tag
	if !has.Adopted {
		want = p.tags.of(l.ID)
	}
	if l.Tag == 0 || l.Tag != want || server != "" && server != has.Server {
		p.tally.foreign[from][wordDone]++
		return balance.Foreign
	}
	p.end(now, l.ID, o)
	return balance.Ended
}

// end ends a lease by the master's own word.
func (p *pool) end(now balance.Instant, id balance.LeaseID, o balance.Outcome) {
	if p.core.Done(now, id, o) {
		p.ended(&o)
	}
}

// ended draws the consequences of the end of a lease.
func (p *pool) ended(o *balance.Outcome) {
	switch o.Result {
	case balance.Fault, balance.Broken, balance.Unreachable:
		p.touch() // it may have been ejected
	}
	if p.closing && p.core.Open() == 0 {
		p.wake() // it goes
	}
}

// report takes what is known of a server's load, and counts it.
func (p *pool) report(now balance.Instant, r *balance.Report, from source) error {
	err := p.core.Report(now, r)
	word := kept
	if err != nil && !errors.As(err, new(*balance.Contradiction)) {
		word = flawed
	}
	p.tally.reports[from][word]++
	return err
}

// put adds a server or changes what is declared of it: by the file if fixed, else by its agent. What an
// operator drained stays drained.
func (p *pool) put(now balance.Instant, spec balance.ServerSpec, fixed bool) error {
	if fixed {
		spec = p.declared.fixed(spec.ID)
	} else {
		spec, fixed = p.declared.hear(spec)
	}
	if err := p.core.Put(now, spec, fixed); err != nil {
		return err
	}
	if _, made := p.members[spec.ID]; !made {
		p.locate(now, &spec)
	}
	p.touch()
	return p.drainAgain(now, spec.ID)
}

func (p *pool) goodbye(now balance.Instant, id balance.ServerID) {
	p.core.Goodbye(now, id)
	p.declared.forget(id)
	p.touch()
}

// lost sets the leases of an edge whose connection broke to end after the grace period.
func (p *pool) lost(now balance.Instant, edge balance.EdgeID) {
	p.core.Lost(now, edge)
	p.soon(now.Add(p.cfg.Grace))
}

// denied ends the leases of an edge that is not to be believed any more.
func (p *pool) denied(now balance.Instant, edge balance.EdgeID) {
	p.core.Denied(now, edge)
	p.touch()
}

func (p *pool) left(now balance.Instant, edge balance.EdgeID) {
	p.core.Left(now, edge)
	p.touch()
}

// hold enters or confirms a lease by the word of an edge that still has it.
func (p *pool) hold(now balance.Instant, edge balance.EdgeID, h *wire.Hold) error {
	if h.Age < 0 || h.Age > longestHold || h.Left < 0 || h.Left > longestHold {
		return fmt.Errorf("pool %s: lease %s: age %v and %v left, want 0 to %v", p.name, h.Lease, h.Age, h.Left, longestHold)
	}
	if err := p.core.Hold(now, edge, h.Lease, h.Server, h.Age, h.Left, h.Tag); err != nil {
		if errors.Is(err, balance.ErrForeign) {
			p.tally.foreign[fromEdge][wordHold]++
		}
		return err
	}
	if h.Left == 0 {
		p.core.Owes(now, edge, h.Lease, !h.Idle)
	}
	if h.Left > 0 {
		p.soon(now.Add(h.Left))
	}
	return nil
}

// soon has Expire called at a time, if it would be called later otherwise.
func (p *pool) soon(at balance.Instant) {
	if p.next == 0 || at < p.next {
		p.next = at
		p.wake()
	}
}

// touch says that those who watch the pool should hear of it.
func (p *pool) touch() {
	if !p.changed || !p.turned {
		p.changed, p.turned = true, true
		p.wake()
	}
}

// configure applies what the file now says, a config that is valid. It returns the
// servers that the file names no more.
func (p *pool) configure(now balance.Instant, cfg PoolConfig) (unnamed []balance.ServerID, err error) {
	cfg = cfg.withDefaults()
	if !cfg.alike(&p.cfg) { // for what core remembers of keys does not outlive it
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
	p.declared.read(&cfg)
	unnamed = p.unnameMembers(now)
	p.touch()
	for _, spec := range cfg.Servers {
		if cfg.isPattern(&spec) {
			_, gone := p.expand(now, &spec) // it is known already, unless the file has it since now
			unnamed = append(unnamed, gone...)
			p.names.look()
			continue
		}
		old := before[spec.ID]
		delete(before, spec.ID)
		if old != nil && reflect.DeepEqual(*old, spec) && told[spec.ID] == p.declared.tells[spec.ID] {
			continue // so that one that has said goodbye is not called back
		}
		if err := p.put(now, spec, true); err != nil {
			return nil, err
		}
	}
	for id := range before {
		p.core.Unname(now, id)
	}
	return append(unnamed, slices.Sorted(maps.Keys(before))...), nil
}

// remove has the pool take nothing new and leave with its last lease.
func (p *pool) remove(now balance.Instant) {
	p.closing, p.members = true, nil
	for _, v := range p.core.Views(now) {
		p.core.Unname(now, v.Spec.ID)
	}
	p.dismiss(now, &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %s has been removed", p.name)})
	p.touch()
}
