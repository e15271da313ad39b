package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// maxDispatches is how many dispatches of one master are worked on at once; further
// ones are refused at once.
const maxDispatches = 256

// longestVerdict bounds a dispatch for which the master set no limit.
const longestVerdict = 10 * time.Second

// AgentConfig is what an Agent is told once.
type AgentConfig struct {
	Masters  []string // host:port or unix:/path; a connection is kept to each
	Pool     string
	Server   balance.ServerSpec
	Dispatch func(ctx context.Context, d Dispatch) error // nil accepts all; ctx ends with the dispatch's limit or its connection
	TLS      *tls.Config                                 // nil: plain connections
	Trust    *trust.Keeper                               // nil: who is at the other end is for TLS to judge
	Log      *slog.Logger                                // nil: silent
	Software string                                      // name and version, for the masters' logs; may be empty
	Inside   *inside.Set                                 // as Config.Inside
}

// Dispatch is a master's indication to perform the processing of a request. An error
// of AgentConfig.Dispatch refuses it, and its text tells the master why.
type Dispatch struct {
	Lease   balance.LeaseID
	Pool    string
	Edge    balance.EdgeID
	Request balance.Request
	Limit   time.Duration
	Fence   uint64 // of the master's lead; zero: it was not elected
	Tag     uint64 // by which the server may end the lease; zero: its edge does
}

// Told is the lease as the application is told of it.
func (d *Dispatch) Told() balance.TaggedLease { return balance.TaggedLease{ID: d.Lease, Tag: d.Tag} }

// Agent keeps a server registered with its masters. Its methods may be called at any
// time, from any goroutine.
type Agent struct {
	cfg   AgentConfig
	links []*link
	fence atomic.Uint64 // the largest that came with a dispatch

	refused trust.Tally // over all links
}

// link is an agent's line to one master.
type link struct {
	*line
	talk  *agentTalk
	cfg   *AgentConfig
	fence *atomic.Uint64 // the Agent's
	pass  func()         // tells every master what one has told of drains

	handlers sync.WaitGroup
	busy     chan struct{} // holds one for each dispatch being worked on
}

// NewAgent returns an Agent that is idle until Run.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	err := checkMasters(cfg.Masters)
	if problem := balance.BadName(cfg.Pool); problem != "" {
		err = errors.Join(err, fmt.Errorf("pool: %s", problem))
	}
	cfg.Server.Validate(func(field, problem string) {
		err = errors.Join(err, fmt.Errorf("server %s: %s", field, problem))
	})
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg}
	instance, drains := newInstance(), newDrains()
	for _, master := range cfg.Masters {
		k := &link{cfg: &a.cfg, fence: &a.fence, busy: make(chan struct{}, maxDispatches), talk: newAgentTalk(cfg.Pool, cfg.Server, cfg.Software)}
		k.line = newLine([]string{master}, security{cfg.TLS, cfg.Trust}, logger(cfg.Log), k.talk, k.deliver)
		k.also, k.inside = &a.refused, cfg.Inside
		k.talk.drains.drains = drains
		k.pass = a.passDrains
		k.talk.hello.Instance = instance
		k.others = func() []uint64 { return a.connected(k) }
		k.left = a.unpark
		a.links = append(a.links, k)
	}
	return a, nil
}

// connected returns the epochs of the masters that are connected, but for one link.
func (a *Agent) connected(but *link) (epochs []uint64) {
	for _, k := range a.links {
		if epoch := k.epoch.Load(); k != but && epoch != 0 {
			epochs = append(epochs, epoch)
		}
	}
	return epochs
}

// unpark has addresses tried again at which a master answered that is not connected any more.
func (a *Agent) unpark() {
	connected := a.connected(nil)
	for _, k := range a.links {
		k.line.unpark(connected)
	}
}

// Run keeps the connections until ctx ends, then says Goodbye on each, waits a moment
// for it to be read, and returns nil once every dispatch has ended. It may run once.
func (a *Agent) Run(ctx context.Context) error {
	var lines sync.WaitGroup
	for _, k := range a.links {
		lines.Go(func() {
			_ = k.run(ctx)
			k.handlers.Wait()
		})
	}
	lines.Wait()
	return nil
}

// passDrains tells every master what another has told of the server's drain.
func (a *Agent) passDrains() {
	for _, k := range a.links {
		k.line.tellDrains(&k.talk.drains, &k.talk.session)
	}
}

// Connected reports whether any master has welcomed us, has our pool, and is there.
func (a *Agent) Connected() bool {
	for _, k := range a.links {
		if k.isUp.Load() && k.unplaced() == nil {
			return true
		}
	}
	return false
}

// Problem returns why masters would not have the server, if a person must mend it; else nil.
func (a *Agent) Problem() error {
	var all []error
	for _, k := range a.links {
		if err := cmp.Or(k.unplaced(), k.trouble()); err != nil {
			all = append(all, fmt.Errorf("master %s: %w", k.masters[0], err))
		}
	}
	return errors.Join(all...)
}

// unplaced returns why the master, which keeps the connection, does not have the server; else nil.
func (k *link) unplaced() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.talk.unplaced == "" {
		return nil
	}
	return &wire.Fail{Code: wire.Unknown, Detail: k.talk.unplaced}
}

// Report sends the server's load metrics to every master; whichever has no connection
// gets the latest when it has one again. It keeps nothing of r, whose Server it sets.
func (a *Agent) Report(r balance.Report) {
	r.Server = a.cfg.Server.ID
	for _, k := range a.links {
		k.mu.Lock()
		k.talk.report(clock.Now(), &r)
		k.kick()
		k.mu.Unlock()
	}
}

// Serving tells every master whether the server can serve: problem says why it cannot, or is
// empty. Masters that are connected later are told too.
func (a *Agent) Serving(problem string) {
	for _, k := range a.links {
		k.mu.Lock()
		k.talk.serving(problem)
		k.kick()
		k.mu.Unlock()
	}
}

// Done ends a lease, by the server's own word: for redirected clients, whose end no
// edge sees. Every master is told; those that did not grant it ignore it.
func (a *Agent) Done(lease balance.TaggedLease, o balance.Outcome) {
	for _, k := range a.links {
		k.mu.Lock()
		if err := k.talk.done(lease, o); err != nil {
			k.drop(k.conn, err)
		}
		k.soon()
		k.mu.Unlock()
	}
}

// deliver starts on the dispatches that came in. ctx ends with the connection.
func (k *link) deliver(ctx context.Context) {
	if k.talk.passing {
		k.pass()
	}
	if k.talk.told {
		if err := k.unplaced(); err != nil {
			k.log.Error("the master does not have the pool: the server waits for it", "master", k.masters[0], "err", err)
		} else {
			k.log.Info("registering the server again", "master", k.masters[0])
		}
	}
	for i, d := range k.talk.handing {
		k.talk.handing[i] = Dispatch{}
		if newest := k.newest(d.Fence); d.Fence < newest {
			k.refuse(newest)
			k.answer(ctx, d.Lease, fmt.Errorf("fence %d is older than %d: another master leads pool %s by now", d.Fence, newest, d.Pool))
			continue
		}
		if k.cfg.Dispatch == nil {
			k.answer(ctx, d.Lease, nil)
			continue
		}
		select {
		case k.busy <- struct{}{}:
			k.handlers.Go(func() {
				defer func() { <-k.busy }()
				k.handle(ctx, d)
			})
		default:
			k.answer(ctx, d.Lease, fmt.Errorf("the agent is working on %d dispatches, the most it takes", maxDispatches))
		}
	}
}

// refuse tells the master that a larger fence was seen than that of its dispatch.
func (k *link) refuse(seen uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.talk.stage == up && k.talk.refused != seen {
		k.talk.refused = seen
		k.talk.out = (&wire.Fence{Pool: k.cfg.Pool, Seen: seen}).Append(k.talk.out)
		k.kick()
	}
}

// newest returns the largest fence that any master's dispatch has come with, this one's among them.
func (k *link) newest(fence uint64) uint64 {
	for {
		seen := k.fence.Load()
		if fence <= seen || k.fence.CompareAndSwap(seen, fence) {
			return max(fence, seen)
		}
	}
}

func (k *link) handle(ctx context.Context, d Dispatch) {
	limit := d.Limit
	if limit == 0 {
		limit = longestVerdict
	}
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	k.answer(ctx, d.Lease, k.cfg.Dispatch(within, d))
}

// answer sends the verdict, unless the connection that wants it is gone.
func (k *link) answer(ctx context.Context, lease balance.LeaseID, err error) {
	m := wire.Verdict{Lease: lease, Accepted: err == nil}
	if err != nil {
		m.Detail = err.Error()
	}
	k.mu.Lock()
	if ctx.Err() == nil {
		k.talk.verdict(m)
		k.kick()
	}
	k.mu.Unlock()
}
