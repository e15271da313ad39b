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
)

// pool is the lock around a balance.Pool, with what the master itself keeps of it.
// Pools share nothing but the wake function.
type pool struct {
	name   string
	number uint32        // no other pool of the master has had it
	wake   func()        // has the master's loop look at the pool; never blocks
	reign  *atomic.Int64 // until when, as a balance.Instant, what is led may be granted

	mu      sync.Mutex // held over memory work only, and let go of by unlock; guards what follows
	core    *balance.Pool
	cfg     PoolConfig // with defaults filled
	named   bool       // by the file; otherwise an agent's registration made it
	waits   map[balance.WaitID]*pending
	lead    lead
	closing bool // removed: no new asks, and gone with its last lease
	drained map[balance.ServerID]struct{}
	scratch balance.Request // where a caller's request is copied, so that a pick allocates nothing
	next    balance.Instant // when core wants Expire; zero: when something else has been called
	tally   tally

	changed   bool            // since edges were told
	told      balance.Instant // when that was
	loadsTold balance.Instant

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
	return &pool{name: cfg.Name, named: named, wake: wake, cfg: cfg, changed: true, core: balance.New(told, chosen, seed),
		drained: make(map[balance.ServerID]struct{}), waits: make(map[balance.WaitID]*pending)}, nil
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
	grant.Fence = p.lead.fence
	if grant.Expires != 0 {
		p.soon(grant.Expires)
	}
	return err
}

// count enters the final answer to an ask.
func (p *pool) count(err error) { p.tally.picks[verdict(err)]++ }

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

// done ends a lease; false: it was not open.
func (p *pool) done(now balance.Instant, id balance.LeaseID, o balance.Outcome) bool {
	if !p.core.Done(now, id, o) {
		return false
	}
	if o.Result == balance.Fault || o.Result == balance.Unreachable {
		p.touch() // it may have been ejected
	}
	if p.closing && p.core.Open() == 0 {
		p.wake() // it goes
	}
	return true
}

// report takes what is known of a server's load, and counts it.
func (p *pool) report(now balance.Instant, r *balance.Report, from source) error {
	err := p.core.Report(now, r)
	if err == nil {
		p.tally.reports[from][kept]++
		return nil
	}
	p.tally.reports[from][flawed]++
	return err
}

// put adds a server or changes what is declared of it. What an operator drained stays drained.
func (p *pool) put(now balance.Instant, spec balance.ServerSpec, fixed bool) error {
	if err := p.core.Put(now, spec, fixed); err != nil {
		return err
	}
	p.touch()
	if _, drained := p.drained[spec.ID]; drained {
		return p.core.Drain(now, spec.ID, true)
	}
	return nil
}

func (p *pool) drain(now balance.Instant, id balance.ServerID, on bool) error {
	if err := p.core.Drain(now, id, on); err != nil {
		return err
	}
	if on {
		p.drained[id] = struct{}{}
	} else {
		delete(p.drained, id)
	}
	p.touch()
	return nil
}

func (p *pool) goodbye(now balance.Instant, id balance.ServerID) {
	p.core.Goodbye(now, id)
	p.touch()
}

// lost sets the leases of an edge whose connection broke to end after the grace period.
func (p *pool) lost(now balance.Instant, edge balance.EdgeID) {
	p.core.Lost(now, edge)
	p.soon(now.Add(p.cfg.Grace))
}

func (p *pool) left(now balance.Instant, edge balance.EdgeID) {
	p.core.Left(now, edge)
	p.touch()
}

func (p *pool) hold(now balance.Instant, edge balance.EdgeID, id balance.LeaseID, server balance.ServerID, age, left time.Duration) error {
	if age < 0 || age > longestHold || left < 0 || left > longestHold {
		return fmt.Errorf("pool %s: lease %s: age %v and %v left, want 0 to %v", p.name, id, age, left, longestHold)
	}
	if err := p.core.Hold(now, edge, id, server, age, left); err != nil {
		return err
	}
	if left > 0 {
		p.soon(now.Add(left))
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
	if !p.changed {
		p.changed = true
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
		if !p.closing {
			before[p.cfg.Servers[i].ID] = &p.cfg.Servers[i]
		}
	}
	p.cfg, p.closing, p.named = cfg, false, true
	p.touch()
	for _, spec := range cfg.Servers {
		old := before[spec.ID]
		delete(before, spec.ID)
		if old != nil && reflect.DeepEqual(*old, spec) {
			continue // so that one that has said goodbye is not called back
		}
		if err := p.put(now, spec, true); err != nil {
			return nil, err
		}
	}
	for id := range before {
		p.core.Unname(now, id)
	}
	return slices.Sorted(maps.Keys(before)), nil
}

// remove has the pool take nothing new and leave with its last lease.
func (p *pool) remove(now balance.Instant) {
	p.closing = true
	for _, v := range p.core.Views(now) {
		p.core.Unname(now, v.Spec.ID)
	}
	p.dismiss(&balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %s has been removed", p.name)})
	p.touch()
}
