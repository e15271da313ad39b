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

// maxDispatches bounds the dispatches of one master that are handled concurrently. Further ones are refused.
const maxDispatches = 256

// maxVerdictTime bounds a dispatch for which the master set no limit.
const maxVerdictTime = 10 * time.Second

// AgentConfig configures an Agent. NewAgent copies it.
type AgentConfig struct {
	Masters  []string // host:port or unix:/path; a connection is kept to each
	Pool     string
	Server   balance.ServerSpec
	Dispatch func(ctx context.Context, d Dispatch) error // nil: accepts all; ctx ends with the dispatch's limit or its connection
	Ended    func(LeaseEnd)                              // called once for each dispatch that was accepted, when its lease is over; it must not block. nil: ends are not asked for
	TLS      *tls.Config                                 // nil: plain connections
	Trust    *trust.Keeper                               // nil: TLS alone decides whether the other end is a master
	Log      *slog.Logger                                // nil: silent
	Software string                                      // name and version, for the masters' logs; may be empty
	Inside   *inside.Set                                 // as Config.Inside
}

// Dispatch is a master's request to the server to accept a request. An error of AgentConfig.Dispatch refuses
// it; its text is sent to the master.
type Dispatch struct {
	Lease   balance.LeaseID
	Pool    string
	Edge    balance.EdgeID
	Request balance.Request
	Limit   time.Duration
	Fence   uint64 // of the master's lead; zero: there is no election
	Tag     uint64 // proof by which the server may end the lease; zero: its edge ends it
}

// Told returns the lease as the application is given it.
func (d *Dispatch) Told() balance.TaggedLease { return balance.TaggedLease{ID: d.Lease, Tag: d.Tag} }

// Agent keeps a server registered with its masters. Its methods are safe for concurrent use.
type Agent struct {
	cfg      AgentConfig
	conns    []*masterConn
	accepted *accepted
	fence    atomic.Uint64 // the largest that came with a dispatch

	refused trust.Tally // over all connections
}

// masterConn is an agent's connection to one master.
type masterConn struct {
	*connLoop
	proto         *agentProtocol
	cfg           *AgentConfig
	fence         *atomic.Uint64 // the Agent's
	accepted      *accepted      // the Agent's
	passOverrides func()         // sends one master's overrides to all others

	handlers      sync.WaitGroup
	dispatchSlots chan struct{} // one slot for each dispatch in progress
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
	a := &Agent{cfg: cfg, accepted: newAccepted()}
	instance, overrides := newInstance(), newOverrides()
	for _, master := range cfg.Masters {
		k := &masterConn{cfg: &a.cfg, fence: &a.fence, accepted: a.accepted, dispatchSlots: make(chan struct{}, maxDispatches), proto: newAgentProtocol(cfg.Pool, cfg.Server, cfg.Software)}
		k.connLoop = newConnLoop([]string{master}, security{cfg.TLS, cfg.Trust}, logger(cfg.Log), k.proto, k.deliver)
		k.parentTally, k.inside = &a.refused, cfg.Inside
		k.proto.overrides.overrides = overrides
		k.passOverrides = a.passOverrides
		k.proto.working = func() []balance.LeaseID { return a.accepted.askable(k, k.proto.elected) }
		k.proto.hello.Instance = instance
		k.otherEpochs = func() []uint64 { return a.connected(k) }
		k.onDisconnect = a.unpark
		a.conns = append(a.conns, k)
	}
	return a, nil
}

// connected returns the epochs of the connected masters, except that of one connection.
func (a *Agent) connected(but *masterConn) (epochs []uint64) {
	for _, k := range a.conns {
		if epoch := k.epoch.Load(); k != but && epoch != 0 {
			epochs = append(epochs, epoch)
		}
	}
	return epochs
}

// unpark retries spare addresses of masters that are no longer connected.
func (a *Agent) unpark() {
	connected := a.connected(nil)
	for _, k := range a.conns {
		k.connLoop.unpark(connected)
	}
}

// Run keeps the connections until ctx ends. Then it sends a Goodbye on each, waits up to a second for the
// master to hang up, and returns nil once every dispatch has ended. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	var lines sync.WaitGroup
	if a.cfg.Ended != nil {
		lines.Go(func() { a.askForEnds(ctx) })
	}
	for _, k := range a.conns {
		lines.Go(func() {
			_ = k.run(ctx)
			k.handlers.Wait()
		})
	}
	lines.Wait()
	return nil
}

// askEndsEvery is how often masters are asked which of the accepted leases are over, of which they may have said so
// while there was no connection.
const askEndsEvery = 5 * time.Second

// askForEnds asks masters until ctx ends.
func (a *Agent) askForEnds(ctx context.Context) {
	tick := time.NewTicker(askEndsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range a.conns {
			k.mu.Lock()
			if k.proto.appendWorking() {
				k.requestWrite()
			}
			k.mu.Unlock()
		}
	}
}

// passOverrides sends every master the overrides that another has sent.
func (a *Agent) passOverrides() {
	for _, k := range a.conns {
		k.connLoop.sendOverrides(&k.proto.overrides, &k.proto.session)
	}
}

// Connected reports whether a master is connected and has the agent's pool.
func (a *Agent) Connected() bool {
	for _, k := range a.conns {
		if k.isUp.Load() && k.unplacedError() == nil {
			return true
		}
	}
	return false
}

// Problem returns the masters' refusals, if a person has to fix them; else nil.
func (a *Agent) Problem() error {
	var all []error
	for _, k := range a.conns {
		if err := cmp.Or(k.unplacedError(), k.problemError()); err != nil {
			all = append(all, fmt.Errorf("master %s: %w", k.masters[0], err))
		}
	}
	return errors.Join(all...)
}

// unplacedError returns why a connected master has not registered the server; nil: it has.
func (k *masterConn) unplacedError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proto.unplaced == "" {
		return nil
	}
	return &wire.Fail{Code: wire.Unknown, Detail: k.proto.unplaced}
}

// Report sends the server's load metrics to every master. A master without a connection gets the latest ones
// after a reconnect. It keeps nothing of r, whose Server it sets.
func (a *Agent) Report(r balance.Report) {
	r.Server = a.cfg.Server.ID
	for _, k := range a.conns {
		k.mu.Lock()
		k.proto.storeReport(clock.Now(), &r)
		k.requestWrite()
		k.mu.Unlock()
	}
}

// Serving tells every master whether the server can serve: problem says why not, empty: it can. Masters that
// connect later are told too.
func (a *Agent) Serving(problem string) {
	for _, k := range a.conns {
		k.mu.Lock()
		k.proto.setServing(problem)
		k.requestWrite()
		k.mu.Unlock()
	}
}

// Done ends a lease on behalf of the server: for redirected clients, whose end no edge sees. Every master is
// told; one that did not grant the lease ignores it.
func (a *Agent) Done(lease balance.TaggedLease, o balance.Outcome) {
	for _, k := range a.conns {
		k.mu.Lock()
		if err := k.proto.appendDone(lease, o); err != nil {
			k.closeConnLocked(k.conn, err)
		}
		k.armFlushLocked()
		k.mu.Unlock()
	}
}

// deliver starts the dispatches that came in. ctx ends with the connection.
func (k *masterConn) deliver(ctx context.Context) {
	if k.proto.overrideNews {
		k.passOverrides()
	}
	if k.proto.unplacedNews {
		if err := k.unplacedError(); err != nil {
			k.log.Error("the master does not have the pool: the server waits for it", "master", k.masters[0], "err", err)
		} else {
			k.log.Info("registering the server again", "master", k.masters[0])
		}
	}
	for i, d := range k.proto.toHandle {
		k.proto.toHandle[i] = Dispatch{}
		if newest := k.raiseFence(d.Fence); d.Fence < newest {
			k.rejectFence(newest)
			k.sendVerdict(ctx, d.Lease, fmt.Errorf("fence %d is older than %d: another master leads pool %s by now", d.Fence, newest, d.Pool))
			continue
		}
		if k.cfg.Ended != nil && k.proto.tellsEnds {
			k.accepted.begin(d, k)
		}
		if k.cfg.Dispatch == nil {
			k.answer(ctx, d.Lease, nil)
			continue
		}
		select {
		case k.dispatchSlots <- struct{}{}:
			k.handlers.Go(func() {
				defer func() { <-k.dispatchSlots }()
				k.handle(ctx, d)
			})
		default:
			k.answer(ctx, d.Lease, fmt.Errorf("the agent is working on %d dispatches, the most it takes", maxDispatches))
		}
	}
	for i := range k.proto.toEnd { // behind the dispatches, which may be theirs
		k.onEnded(&k.proto.toEnd[i])
	}
}

// rejectFence tells the master that a larger fence than the one of its dispatch was seen.
func (k *masterConn) rejectFence(seen uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proto.stage == connected && k.proto.refused != seen {
		k.proto.refused = seen
		k.proto.out = (&wire.Fence{Pool: k.cfg.Pool, Seen: seen}).Append(k.proto.out)
		k.requestWrite()
	}
}

// raiseFence returns the largest fence of all masters' dispatches, including this one.
func (k *masterConn) raiseFence(fence uint64) uint64 {
	for {
		seen := k.fence.Load()
		if fence <= seen || k.fence.CompareAndSwap(seen, fence) {
			return max(fence, seen)
		}
	}
}

func (k *masterConn) handle(ctx context.Context, d Dispatch) {
	limit := d.Limit
	if limit == 0 {
		limit = maxVerdictTime
	}
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	k.answer(ctx, d.Lease, k.cfg.Dispatch(within, d))
}

// answer sends the server's answer to a dispatch, and tells the server of the lease's end if it has come meanwhile.
func (k *masterConn) answer(ctx context.Context, lease balance.LeaseID, err error) {
	end := k.accepted.answered(lease, err == nil)
	k.sendVerdict(ctx, lease, err)
	if end != nil {
		k.cfg.Ended(*end)
	}
}

// onEnded handles a master's word that a lease is over.
func (k *masterConn) onEnded(m *wire.Ended) {
	if end := k.accepted.ended(m, k, k.proto.elected); end != nil {
		k.cfg.Ended(*end)
	}
}

// sendVerdict sends the verdict, unless the connection that asked for it is gone.
func (k *masterConn) sendVerdict(ctx context.Context, lease balance.LeaseID, err error) {
	m := wire.Verdict{Lease: lease, Accepted: err == nil}
	if err != nil {
		m.Detail = err.Error()
	}
	k.mu.Lock()
	if ctx.Err() == nil {
		k.proto.appendVerdict(m)
		k.requestWrite()
	}
	k.mu.Unlock()
}
