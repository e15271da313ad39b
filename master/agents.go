package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// agent is the connection of an agent, which represents one server. Unless said otherwise its fields and
// methods belong to the connection's reader.
type agent struct {
	*conn
	master     *Master
	server     balance.ServerID
	pool       *pool // nil until it has registered
	awaitsPool bool  // it has registered for a pool that does not exist yet
	locked     bool  // pool is locked, from onFrame until takeReplies
	out        []byte

	instance  uint64   // set once: identifies the agent's process; zero: unknown
	connected []uint64 // set once: epochs of the masters that its hello named

	down            string // why it says that its server cannot serve; empty: it can
	overreachLogged bool   // a report about another server has been logged

	serverAddr netip.AddrPort // of its server, if that is an IP address; guarded by peers.mu

	mu       sync.Mutex // guards the following
	verdicts map[balance.LeaseID]chan wire.Verdict
	closed   bool

	registered *pool  // pool, for other goroutines
	address    string // of its server, as registered
}

// takeoverSilence is how long an agent may be silent and still keep its registration from another agent: it
// has missed its pings by then.
const takeoverSilence = 5 * time.Second

func (m *Master) newAgent(c *conn, hello *wire.Hello) (*agent, error) {
	a := &agent{conn: c, master: m, server: balance.ServerID(hello.ID), instance: hello.Instance, connected: hello.Connected, verdicts: make(map[balance.LeaseID]chan wire.Verdict)}
	c.log, c.software = c.log.With("server", hello.ID), hello.Software
	if m.peers.counts[roleAgent].Add(1) > int64(m.peers.bounds.Agents) {
		m.peers.countOut(roleAgent)
		return nil, m.peers.overLimit(roleAgent, byNumber, "%d agents are connected, the most that may (limits.agents)", m.peers.bounds.Agents)
	}
	c.account = &m.peers.accounts[roleAgent]
	m.welcome(c, hello)
	return a, nil
}

// onDisconnect implements peer.
func (a *agent) onDisconnect(why error) {
	a.giveUpRegistration(why)
	a.master.peers.unsetUnplaced(a)
	a.master.peers.forgetServerAddr(a)
	if a.awaitsPool {
		a.log.Info("agent disconnected while it waited for its pool", "err", disconnectReason(why))
	} else if a.pool == nil {
		a.log.Warn("agent refused", "err", why)
	} else {
		a.log.Info("agent disconnected", "pool", a.pool.name, "err", disconnectReason(why))
	}
	a.master.peers.countOut(roleAgent)
}

// giveUpRegistration removes the agent. Its server is removed only after a goodbye: a server whose agent is
// lost stays as the ledger knows it.
func (a *agent) giveUpRegistration(why error) {
	a.mu.Lock()
	a.closed = true
	for _, answer := range a.verdicts {
		close(answer)
	}
	a.verdicts = nil
	a.mu.Unlock()
	if a.pool == nil || !a.master.peers.removeAgent(agentKey{a.pool.name, a.server}, a) {
		return
	}
	a.pool.mu.Lock()
	defer a.pool.unlock()
	a.pool.setHealthLocked(clock.Now(), a.server, balance.ByAgent, "") // no other witness would clear it
	if errors.Is(why, errGoodbye) || lostRight(why) && a.pool.declared.file[a.server] == nil {
		a.pool.removeServerLocked(clock.Now(), a.server)
		return
	}
	a.pool.noteLocked(event{Kind: eventAgentGone, Server: string(a.server), Error: disconnectText(why)})
}

// lostRight reports whether an agent was disconnected because it may not register its server, which leaves
// with it. If its certificate has merely expired the server stays.
func lostRight(why error) bool {
	r, refused := errors.AsType[*trust.Refusal](why)
	return refused && r.Reason != trust.Expired
}

// isDenied reports whether a peer was disconnected because an operator denies it.
func isDenied(why error) bool {
	r, refused := errors.AsType[*trust.Refusal](why)
	return refused && r.Reason == trust.Denied
}

// readyForLoop implements peer: only the registration may wait.
func (a *agent) readyForLoop() bool { return a.pool != nil }

func (a *agent) takeReplies(balance.Instant) []byte {
	a.unlockPool()
	out := a.out
	a.out = a.out[:0]
	return out
}

func (a *agent) lockPool() *pool {
	if !a.locked {
		a.pool.mu.Lock()
		a.locked = true
	}
	return a.pool
}

func (a *agent) unlockPool() {
	if a.locked {
		a.locked = false
		a.pool.unlock()
	}
}

func (a *agent) onFrame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error {
	switch t {
	case wire.TReports, wire.TDone, wire.TFence, wire.TDrain, wire.TOverride, wire.TVerdict, wire.TWorking:
		if a.awaitsPool {
			return nil // it was sent before the agent knew
		}
	}
	switch t {
	case wire.TRegister:
		a.unlockPool()
		return a.onRegister(ctx, now, payload)
	case wire.TReports:
		if err := a.buffers.reports.Decode(payload); err != nil {
			return err
		}
		return a.onReports(now)
	case wire.TForm:
		return a.defineMetrics(&a.master.metricNames, payload)
	case wire.TDone:
		if err := a.buffers.done.Decode(payload); err != nil {
			return err
		}
		a.onDone(now)
	case wire.TFence:
		if a.pool == nil {
			return nil
		}
		a.unlockPool()
		return a.master.sawFence(payload, a.pool.name)
	case wire.TDrain, wire.TOverride:
		return a.onOverride(payload)
	case wire.TWorking:
		return a.onWorking(now, payload)
	case wire.TVerdict:
		var v wire.Verdict
		if err := v.Decode(payload); err != nil {
			return err
		}
		v.Detail = strings.Clone(v.Detail)
		a.onVerdict(v)
	default:
		return onCommonFrame(&a.out, t, payload, "agent")
	}
	return nil
}

// onRegister adds the agent's server to its pool, or updates it.
func (a *agent) onRegister(ctx context.Context, now balance.Instant, payload []byte) error {
	var r wire.Register
	if err := r.Decode(payload); err != nil {
		return err
	}
	spec := ownSpec(&r.Server)
	if spec.ID != a.server {
		return &wire.Fail{Code: wire.BadRegister, Detail: fmt.Sprintf("the hello was for server %s, the registration is for %q", a.server, clip(string(spec.ID)))}
	}
	if a.pool != nil && a.pool.name != r.Pool {
		return &wire.Fail{Code: wire.BadRegister, Detail: fmt.Sprintf("server %s is registered in pool %s: say goodbye before registering it in %q", a.server, a.pool.name, clip(r.Pool))}
	}
	if err := spec.Check(); err != nil { // first: a bad server must leave no trace
		return &wire.Fail{Code: wire.BadRegister, Detail: err.Error()}
	}
	if a.master.openPools && a.master.poolNamed(r.Pool) == nil { // who would be refused there opens none
		if err := newAccess(&PoolConfig{Name: r.Pool}, ignore).checkAgent(r.Pool, string(a.server), a.identity, false); err != nil {
			a.master.refusals.Add(err)
			return err
		}
	}
	p := a.master.openPool(r.Pool)
	if p == nil && a.pool == nil && poolName.MatchString(r.Pool) {
		if a.master.parkAgent(a, strings.Clone(r.Pool)) {
			return nil
		}
		p = a.master.openPool(r.Pool)
	}
	if p == nil {
		return &wire.Fail{Code: wire.Unknown, Detail: fmt.Sprintf("no pool %q here: name it in the master's file", clip(r.Pool))}
	}
	a.master.peers.noteServerAddr(a, spec.Address)
	if err := a.checkAccess(p, spec.Address); err != nil {
		a.master.refusals.Add(err)
		return err
	}
	if err := a.claimRegistration(ctx, p.name); err != nil {
		return err
	}
	a.master.shareServers(p, spec.Address)
	fresh := a.pool == nil
	a.pool, a.awaitsPool = p, false
	a.mu.Lock()
	a.registered, a.address = p, spec.Address
	a.mu.Unlock()
	a.lockPool().declared.setOrigin(spec.ID, a.origin)
	if err := a.lockPool().putServerLocked(now, spec, false); err != nil {
		return &wire.Fail{Code: wire.BadRegister, Detail: err.Error()}
	}
	down := strings.Clone(r.Down)
	a.pool.setHealthLocked(now, spec.ID, balance.ByAgent, down)
	a.unlockPool()
	if fresh {
		a.sendOverrides(p)
	}
	switch {
	case fresh && down != "":
		a.log.Warn("agent registered, but its server is down", "pool", p.name, "address", spec.Address, "err", down)
	case fresh:
		a.log.Info("agent registered", "pool", p.name, "address", spec.Address)
	case down == a.down: // otherwise the outage log has it
		a.log.Info("server changed", "pool", p.name, "address", spec.Address)
	}
	a.down = down
	return nil
}

// checkAccess refuses an agent whose certificate and address do not allow it to register a server with that
// address in the pool. The pool must not be locked.
func (a *agent) checkAccess(p *pool, address string) error {
	p.mu.Lock()
	rules, file, tells := p.access.Load(), p.declared.file[a.server], p.declared.tells[a.server]
	p.mu.Unlock()
	if err := rules.checkAgent(p.name, string(a.server), a.identity, file != nil); err != nil {
		return err
	}
	if file != nil && tells&TellsAddress == 0 {
		return nil // the file decides the address, whatever the agent sends
	}
	return rules.checkAddress(p.name, address, a.identity, a.origin, a.master.inside)
}

// takeoverWait is how long a new agent waits for the end of an older one that may have died a moment ago, such
// as the former process of its own.
const takeoverWait = 100 * time.Millisecond

// claimRegistration takes the registration of the server's agent, also from one that has gone silent.
func (a *agent) claimRegistration(ctx context.Context, pool string) error {
	key := agentKey{pool, a.server}
	for {
		holder := a.master.peers.addAgent(key, a)
		if holder == a {
			return nil
		}
		quiet := clock.Now().Sub(balance.Instant(holder.lastReceived.Load()))
		same := a.instance != 0 && a.instance == holder.instance
		switch {
		case same && slices.Contains(a.connected, a.master.epoch):
			return &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("the agent of server %s is connected to this master already, from %s: two of its addresses for masters are one master's", a.server, holder.remote)}
		case same:
			holder.drop(&wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("the agent of server %s has connected again, from %s", a.server, a.remote)})
		case quiet >= takeoverSilence:
			holder.drop(&wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("server %s has a new agent, %s, after %v of silence from this one", a.server, a.remote, quiet.Round(time.Millisecond))})
		}
		select {
		case <-holder.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(takeoverWait):
			return &wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("server %s of pool %s has an agent already: %s, last message %v ago", a.server, pool, holder.remote, quiet.Round(time.Millisecond))}
		}
	}
}

// onReports stores reports about the agent's own server and refuses all others.
func (a *agent) onReports(now balance.Instant) error {
	for i := range a.buffers.reports.Reports {
		r := &a.buffers.reports.Reports[i]
		if err := a.expandMetrics(r); err != nil {
			return err
		}
		r.Report.Server = cmp.Or(r.Report.Server, a.server)
		switch {
		case a.pool == nil:
			a.master.unknownPoolReports.Add(1)
			a.faults.add(errors.New("report before the registration"))
		case r.Report.Server != a.server || r.Pool != "" && r.Pool != a.pool.name:
			a.lockPool().stats.reports[fromAgent][reportForeign]++
			if !a.overreachLogged {
				a.overreachLogged = true
				a.faults.add(fmt.Errorf("report for server %q of pool %q, which is not this agent's; this and all further ones are ignored", clip(string(r.Report.Server)), clip(r.Pool)))
			}
		default:
			if err := a.lockPool().storeReportLocked(now, &r.Report, fromAgent); err != nil {
				a.faults.add(err)
			}
		}
	}
	return nil
}

// onDone ends a lease of the agent's own server. The tag proves that the server was sent the lease: a client
// could make its application name any id.
func (a *agent) onDone(now balance.Instant) {
	d := &a.buffers.done
	if a.pool == nil || d.Pool != a.pool.name {
		a.faults.add(fmt.Errorf("done for lease %s of pool %q, which is not this agent's", d.Lease, clip(d.Pool)))
		return
	}
	if a.lockPool().endByTagLocked(now, balance.TaggedLease{ID: d.Lease, Tag: d.Tag}, a.server, d.Outcome, fromAgent) == balance.Foreign {
		a.faults.add(fmt.Errorf("done for lease %s, which is another server's, a routed one, or of another tag", d.Lease))
	}
}

// expectVerdict returns a channel for the verdict on a lease; it is closed if the agent disconnects first, and
// nil if it has disconnected already. The caller has to call forgetVerdict. Any goroutine may call it.
func (a *agent) expectVerdict(lease balance.LeaseID) <-chan wire.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	answer := make(chan wire.Verdict, 1)
	a.verdicts[lease] = answer
	a.master.loops.expectVerdicts(1)
	return answer
}

// forgetVerdict ends the wait for a verdict. Any goroutine may call it.
func (a *agent) forgetVerdict(lease balance.LeaseID) {
	a.mu.Lock()
	delete(a.verdicts, lease)
	a.mu.Unlock()
	a.master.loops.expectVerdicts(-1)
}

// onVerdict delivers a verdict. One that is not waited for came too late and is dropped.
func (a *agent) onVerdict(v wire.Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answer := a.verdicts[v.Lease]; answer != nil {
		delete(a.verdicts, v.Lease)
		answer <- v
	}
}

// ownSpec copies a spec out of the read buffer.
func ownSpec(s *balance.ServerSpec) balance.ServerSpec {
	spec := *s
	spec.ID = balance.ServerID(strings.Clone(string(s.ID)))
	spec.Address, spec.Public, spec.Location = strings.Clone(s.Address), strings.Clone(s.Public), strings.Clone(s.Location)
	spec.Labels = slices.Clone(s.Labels)
	for i, l := range spec.Labels {
		spec.Labels[i] = balance.Label{Key: strings.Clone(l.Key), Value: strings.Clone(l.Value)}
	}
	return spec
}
