// Package elect decides which of several masters leads a pool. It uses an external Store: etcd, or the Leases of Kubernetes. A lead is ours
// until a time on our own monotonic clock that lies before the Store lets another have it, and each lead has a fencing number, larger than
// that of any before it.
//
//	Elector ── Renew, Look, Take, Leave ──▶ Store
//	   │
//	   └── Ready, Extend, Lead, Follow ──▶ Host (a master)
//
// There are no votes here, and no replicated state: a new leader rebuilds the ledger from the edges that hold the leases, so the masters
// only have to agree on one name for each pool.
package elect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// Candidate is a master that may lead.
type Candidate struct {
	ID      string   // of this life of the master: another after a restart
	Address string   // where edges reach it
	Lacks   []string // pools of which it knows no servers, so that it could grant nothing
	Edges   int      // that are connected to it

	short bool // edges have reached others, and not it, for a while
}

// name is the master's id, which is the same in each of its lives.
func (c *Candidate) name() string {
	name, _, _ := strings.Cut(c.ID, LifeMark)
	return name
}

func (c *Candidate) lacks(pool string) bool { return slices.Contains(c.Lacks, pool) }

// Lead is a pool's leader.
type Lead struct {
	Leader Candidate
	Fence  uint64 // grows with each lead of the pool; never zero
}

// View is the state of a Store at one time, without expired entries.
type View struct {
	Masters    []Candidate
	Leads      map[string]Lead // by pool
	Generation uint64          // of the leads that are taken from now
}

// Store records which masters are present and which master leads each pool, each entry for its time to live. Its methods are called by one
// goroutine.
type Store interface {
	// Renew extends our presence and our leads for a time to live that begins no earlier than the call. It also records the pools that we
	// lack and the number of edges connected to us. It returns the pools that we led and no longer lead.
	Renew(ctx context.Context, lacks []string, edges int) (lost []string, err error)
	// Look returns the present state, not a cached one.
	Look(ctx context.Context) (View, error)
	// Take makes us the leader if there is none, and returns the fencing number; zero: another master was faster.
	Take(ctx context.Context, pool string) (fence uint64, err error)
	// Leave ends our lead of a pool.
	Leave(ctx context.Context, pool string) error
	// Raise makes the generation at least so large, for all leads that are taken from now.
	Raise(ctx context.Context, generation uint64) error
	// Quit ends our presence and all our leads.
	Quit(ctx context.Context) error
	// Changed returns a channel that receives when another Look may show something new; nil if the Store cannot detect changes.
	Changed() <-chan struct{}
}

// Host is the master. The Elector tells it which pools it leads. Every lead ends at the time of the last Extend.
type Host interface {
	Ready(pool string) bool          // it knows servers to grant
	Edges() int                      // how many are connected
	Seen(pool string) (fence uint64) // the largest that edges and agents have reported; zero: none
	Refused(pool string, by uint64)  // they do not accept our lead, because they have seen this fence; zero: they do
	Extend(until time.Time)          // on the monotonic clock
	Lead(pool string, fence uint64)
	Follow(pool, id, address string) // the master of that id leads, at that address; empty: no known one does
}

// Config is an Elector's configuration. It does not change after New.
type Config struct {
	Self  Candidate
	TTL   time.Duration // of the Store
	Pools func() []string
	Group func(pool string) string // the same for pools that one master shall lead together; nil: each pool is alone
	Log   *slog.Logger             // nil: silent
}

// Elector has a master lead its share of the pools. New makes one.
type Elector struct {
	cfg   Config
	store Store
	host  Host

	renewed time.Time            // when the last Renew that worked was begun; zero: none has
	until   time.Time            // the end of what is ours
	held    map[string]uint64    // fencing number by pool
	leaders map[string][2]string // what the host was told of the pools of others: id and address
	vacant  map[string]time.Time // since when a pool has no leader
	seen    map[string]time.Time // since when a master is there
	spurned map[string]string    // the master that did not take a pool when it was left to it
	left    map[string]string    // the master to which a pool was left
	handed  time.Time            // when a pool was last left to another
	said    string               // the last trouble in the log
	short   map[string]time.Time // since when a master has fewer edges than another, by id
	refused map[string]uint64    // what the host was told so, by pool
	raise   chan chan error      // asks for a larger generation
}

// New returns an Elector that is idle until Run.
func New(cfg Config, store Store, host Host) *Elector {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Elector{cfg: cfg, store: store, host: host, held: make(map[string]uint64), leaders: make(map[string][2]string), vacant: make(map[string]time.Time),
		seen: make(map[string]time.Time), spurned: make(map[string]string), left: make(map[string]string),
		short: make(map[string]time.Time), refused: make(map[string]uint64), raise: make(chan chan error)}
}

// Shares of the time to live.
const (
	rounds   = 4  // in one; a call of the Store may take as long as a round
	drift    = 10 // a tenth is for clocks that run unlike ours
	patience = 2  // a half, for each master that comes before us for a pool, before we take it: it looks every round
	glance   = 16 // a sixteenth, between two looks while a pool is vacant
	settling = 5  // so many must a master be there before pools are left to it
)

// errWithdrawn ends an Elector's calls when it stops.
var errWithdrawn = errors.New("the election takes too long to answer")

// Run campaigns until ctx ends, then gives everything up and returns nil.
func (e *Elector) Run(ctx context.Context) error {
	defer e.quit(context.WithoutCancel(ctx))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.store.Changed():
		case <-timer.C:
		case answer := <-e.raise:
			answer <- e.raiseNow(ctx)
		}
		err := e.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		e.tell(err)
		if !time.Now().Before(e.until) {
			e.drop(slices.Sorted(maps.Keys(e.held))...)
		}
		timer.Reset(e.next())
	}
}

// next returns how long to wait for the next round.
func (e *Elector) next() time.Duration {
	wait := time.Until(e.renewed.Add(e.cfg.TTL / rounds))
	if len(e.vacant) > 0 {
		wait = min(wait, e.cfg.TTL/glance)
	}
	return max(wait, e.cfg.TTL/glance/4)
}

func (e *Elector) round(ctx context.Context) error {
	if err := e.renew(ctx); err != nil {
		return err
	}
	seen := e.seenFences() // first: what is seen before a look can be judged by it
	view, err := call(ctx, e, e.store.Look)
	if err != nil {
		return err
	}
	e.learn(view)
	if err := e.judgeFences(ctx, view, seen); err != nil {
		return err
	}
	for _, pool := range e.wanted(view) {
		if err := e.renew(ctx); err != nil {
			return err
		}
		fence, err := call(ctx, e, func(ctx context.Context) (uint64, error) { return e.store.Take(ctx, pool) })
		if err != nil {
			return fmt.Errorf("pool %s: %w", pool, err)
		}
		if fence != 0 {
			e.lead(pool, fence)
		}
	}
	return e.handOver(ctx, view)
}

// call gives a call of the Store a round's time.
func call[T any](ctx context.Context, e *Elector, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.TTL/rounds, errWithdrawn)
	defer cancel()
	return do(ctx)
}

// renew renews if it is time to.
func (e *Elector) renew(ctx context.Context) error {
	began := time.Now()
	if began.Sub(e.renewed) < e.cfg.TTL/rounds {
		return nil
	}
	lacks := e.lacks()
	lost, err := call(ctx, e, func(ctx context.Context) ([]string, error) { return e.store.Renew(ctx, lacks, e.host.Edges()) })
	if err != nil {
		return err
	}
	e.drop(lost...)
	e.renewed, e.until = began, began.Add(e.cfg.TTL-e.cfg.TTL/drift)
	e.host.Extend(e.until)
	return nil
}

// mostLacks is the maximum number of pools in Renew's lacks. A master that lacks more has just been started, or the pools have no servers
// at any master.
const mostLacks = 500

// lacks returns the pools of which the host knows no servers.
func (e *Elector) lacks() (pools []string) {
	for _, pool := range e.cfg.Pools() {
		if len(pools) < mostLacks && !e.host.Ready(pool) {
			pools = append(pools, pool)
		}
	}
	return pools
}

// self returns us as we are, whatever others know of that yet.
func (e *Elector) self(pool string) Candidate {
	c := e.cfg.Self
	if c.Lacks = nil; !e.host.Ready(pool) {
		c.Lacks = []string{pool}
	}
	c.short = e.isShort(c.ID)
	return c
}

// learn takes up what a view shows.
func (e *Elector) learn(view View) {
	now := time.Now()
	present := make(map[string]bool)
	for _, m := range view.Masters {
		present[m.ID] = true
		if _, known := e.seen[m.ID]; !known {
			e.seen[m.ID] = now
		}
	}
	e.compareEdges(now, view.Masters)
	maps.DeleteFunc(e.seen, func(id string, _ time.Time) bool { return !present[id] })
	maps.DeleteFunc(e.spurned, func(_, id string) bool { return !present[id] })
	for _, pool := range e.cfg.Pools() {
		lead, led := view.Leads[pool]
		mine, held := e.held[pool]
		switch {
		case led && lead.Leader.ID == e.cfg.Self.ID:
			if mine != lead.Fence {
				e.lead(pool, lead.Fence) // the answer to our Take was lost
			}
			continue
		case held:
			e.drop(pool)
		}
		e.follow(pool, lead.Leader)
		if !led {
			if _, known := e.vacant[pool]; !known {
				e.vacant[pool] = now
			}
			continue
		}
		delete(e.vacant, pool)
		delete(e.left, pool)
	}
}

// wanted returns the vacant pools that it is our turn to take: those for which we rank first immediately, others when the masters that rank
// before us have had their time. A master that lacks a pool waits until it is known that another does not lack it.
func (e *Elector) wanted(view View) (pools []string) {
	leaders := e.leadersOfGroups(view)
	for _, pool := range e.cfg.Pools() {
		since, vacant := e.vacant[pool]
		_, led := view.Leads[pool]
		if !vacant || led {
			continue
		}
		self := e.self(pool)
		rank := len(before(pool, e.group(pool), self, e.judged(view.Masters)))
		switch leader := leaders[e.group(pool)]; {
		case leader == e.cfg.Self.ID:
			rank = 0
		case leader != "":
			rank++
		}
		if self.lacks(pool) {
			rank++
		}
		if time.Since(since) >= time.Duration(rank)*e.cfg.TTL/patience {
			pools = append(pools, pool)
		}
	}
	return pools
}

// handOver leaves one pool, at most one a second, to a master that comes before us: one
// that has just come back gets its share again when it has been there for a while, and one
// that knows servers where we know none, or that edges reach which cannot reach us, gets the
// pool now.
func (e *Elector) handOver(ctx context.Context, view View) error {
	if err := e.followGroups(ctx, view); err != nil {
		return err
	}
	now, pools := time.Now(), e.cfg.Pools()
	if now.Sub(e.handed) < time.Second {
		return nil
	}
	for _, pool := range slices.Sorted(maps.Keys(e.held)) {
		if !slices.Contains(pools, pool) {
			return e.leave(ctx, pool) // the file no longer names it
		}
		self := e.self(pool)
		all := before(pool, e.group(pool), self, e.judged(view.Masters))
		if len(all) == 0 || e.spurned[pool] == all[0].ID || !self.lacks(pool) && !self.short && now.Sub(e.seen[all[0].ID]) < settling*e.cfg.TTL {
			continue
		}
		e.cfg.Log.Info("leaving the pool to the master that comes first for it", "pool", pool, "master", all[0].ID, "edges_here", e.host.Edges(), "edges_there", all[0].Edges)
		e.handed = now
		return e.leaveTo(ctx, pool, all[0].ID)
	}
	return nil
}

// leaveTo leaves a pool, and those that are to be led with it, to another master.
func (e *Elector) leaveTo(ctx context.Context, pool, master string) error {
	for _, with := range slices.Sorted(maps.Keys(e.held)) {
		if e.group(with) != e.group(pool) {
			continue
		}
		e.left[with], e.vacant[with] = master, time.Now()
		if err := e.leave(ctx, with); err != nil {
			return err
		}
	}
	return nil
}

// followGroups leaves the pools that another master is to lead, as it leads the first of their group: masters that come at the same time may
// each have taken some.
func (e *Elector) followGroups(ctx context.Context, view View) error {
	leaders := e.leadersOfGroups(view)
	for _, pool := range slices.Sorted(maps.Keys(e.held)) {
		leader := leaders[e.group(pool)]
		present := slices.ContainsFunc(view.Masters, func(m Candidate) bool { return m.ID == leader })
		if !present || leader == e.cfg.Self.ID || e.spurned[pool] == leader {
			continue
		}
		e.cfg.Log.Info("leaving the pool to the master that leads another which shares servers with it", "pool", pool, "master", leader)
		e.left[pool], e.vacant[pool] = leader, time.Now()
		if err := e.leave(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// leadersOfGroups returns, by group, the master that leads the first pool of it that is led.
func (e *Elector) leadersOfGroups(view View) map[string]string {
	if e.cfg.Group == nil {
		return nil
	}
	leaders := make(map[string]string)
	for _, pool := range slices.Sorted(maps.Keys(view.Leads)) {
		if group := e.group(pool); leaders[group] == "" {
			leaders[group] = view.Leads[pool].Leader.ID
		}
	}
	return leaders
}

func (e *Elector) group(pool string) string {
	if e.cfg.Group == nil {
		return pool
	}
	return e.cfg.Group(pool)
}

// leave gives a lead up, first at the host.
func (e *Elector) leave(ctx context.Context, pool string) error {
	e.drop(pool)
	_, err := call(ctx, e, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.store.Leave(ctx, pool) })
	return err
}

func (e *Elector) lead(pool string, fence uint64) {
	if to := e.left[pool]; to != "" {
		e.spurned[pool] = to
	}
	delete(e.left, pool)
	delete(e.vacant, pool)
	delete(e.leaders, pool)
	e.held[pool] = fence
	e.cfg.Log.Info("leading the pool", "pool", pool, "fence", fence)
	e.host.Lead(pool, fence)
}

// drop ends leads of ours. These pools have no known leader now.
func (e *Elector) drop(pools ...string) {
	for _, pool := range pools {
		if _, held := e.held[pool]; !held {
			continue
		}
		delete(e.held, pool)
		e.cfg.Log.Info("not leading the pool any more", "pool", pool)
		e.follow(pool, Candidate{})
	}
}

func (e *Elector) follow(pool string, leader Candidate) {
	who := [2]string{leader.name(), leader.Address}
	if told, known := e.leaders[pool]; !known || told != who {
		e.leaders[pool] = who
		e.host.Follow(pool, who[0], who[1])
	}
}

// tell logs a problem once, and its end.
func (e *Elector) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == e.said {
		return
	}
	if e.said = text; err == nil {
		e.cfg.Log.Info("the election works again")
		return
	}
	e.cfg.Log.Warn("the election does not work; what is led is given up when its time is over", "left", max(0, time.Until(e.until)).Round(time.Millisecond), "err", err)
}

func (e *Elector) quit(ctx context.Context) {
	e.drop(slices.Sorted(maps.Keys(e.held))...)
	ctx, cancel := context.WithTimeoutCause(ctx, time.Second, errWithdrawn)
	defer cancel()
	if err := e.store.Quit(ctx); err != nil {
		e.cfg.Log.Warn("leaving the election", "err", err)
	}
}
