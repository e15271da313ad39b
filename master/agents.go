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

// agent is the connection of an agent, which speaks for one server. Unless said
// otherwise its fields belong to the connection's reader, as do its methods.
type agent struct {
	*conn
	master *Master
	server balance.ServerID
	pool   *pool // nil until it has registered
	waits  bool  // it has registered for a pool that is not here
	held   bool  // pool is locked, from frame until settle
	out    []byte

	instance  uint64   // set once: of the agent's process; zero: unknown
	connected []uint64 // set once: epochs of the masters that its hello named

	down      string // why it says that its server cannot serve; empty: it can
	overreach bool   // it has reported for another's server, and that is in the log

	at netip.AddrPort // where its server is, if that is an address; guarded by the peers' mu

	mu       sync.Mutex // guards the following
	verdicts map[balance.LeaseID]chan wire.Verdict
	gone     bool

	registered *pool  // as pool, for other goroutines
	address    string // of its server, as it has registered it
}

// silence is how long an agent may be quiet and still keep a newcomer from its
// place: it has missed its pings by then.
const silence = 5 * time.Second

func (m *Master) newAgent(c *conn, hello *wire.Hello) (*agent, error) {
	a := &agent{conn: c, master: m, server: balance.ServerID(hello.ID), instance: hello.Instance, connected: hello.Connected, verdicts: make(map[balance.LeaseID]chan wire.Verdict)}
	c.log, c.software = c.log.With("server", hello.ID), hello.Software
	if m.peers.counts[roleAgent].Add(1) > int64(m.peers.most.Agents) {
		m.peers.leave(roleAgent)
		return nil, m.peers.over(roleAgent, byNumber, "%d agents are connected, the most that may (limits.agents)", m.peers.most.Agents)
	}
	c.account = &m.peers.accounts[roleAgent]
	m.welcome(c, hello)
	return a, nil
}

// leave implements peer.
func (a *agent) leave(why error) {
	a.vacate(why)
	a.master.peers.unsetUnplaced(a)
	a.master.peers.unplace(a)
	if a.waits {
		a.log.Info("agent disconnected, which waited for its pool", "err", whyLeft(why))
	} else if a.pool == nil {
		a.log.Warn("agent refused", "err", why)
	} else {
		a.log.Info("agent disconnected", "pool", a.pool.name, "err", whyLeft(why))
	}
	a.master.peers.leave(roleAgent)
}

// vacate gives the agent's place up. Only a goodbye takes its server along: a server
// whose agent is merely lost goes on as the ledger knows it.
func (a *agent) vacate(why error) {
	a.mu.Lock()
	a.gone = true
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
	a.pool.setHealth(clock.Now(), a.server, balance.ByAgent, "") // nobody would take it back
	if errors.Is(why, errGoodbye) || banished(why) && a.pool.declared.file[a.server] == nil {
		a.pool.goodbye(clock.Now(), a.server)
	}
}

// banished reports whether an agent has lost its place because it may not have it, and its server
// with it. One whose certificate has merely come to its end leaves its server as a lost one does.
func banished(why error) bool {
	r, refused := errors.AsType[*trust.Refusal](why)
	return refused && r.Reason != trust.Expired
}

// isDenied reports whether a peer has lost its place because an operator denies it.
func isDenied(why error) bool {
	r, refused := errors.AsType[*trust.Refusal](why)
	return refused && r.Reason == trust.Denied
}

// steady implements peer: only to claim a place takes time.
func (a *agent) steady() bool { return a.pool != nil }

func (a *agent) settle(balance.Instant) []byte {
	a.exit()
	out := a.out
	a.out = a.out[:0]
	return out
}

func (a *agent) enter() *pool {
	if !a.held {
		a.pool.mu.Lock()
		a.held = true
	}
	return a.pool
}

func (a *agent) exit() {
	if a.held {
		a.held = false
		a.pool.unlock()
	}
}

func (a *agent) frame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error {
	switch t {
	case wire.TReports, wire.TDone, wire.TFence, wire.TDrain, wire.TVerdict:
		if a.waits {
			return nil // it was on its way when the agent was told so
		}
	}
	switch t {
	case wire.TRegister:
		a.exit()
		return a.register(ctx, now, payload)
	case wire.TReports:
		if err := a.desk.reports.Decode(payload); err != nil {
			return err
		}
		return a.report(now)
	case wire.TForm:
		return a.learn(&a.master.forms, payload)
	case wire.TDone:
		if err := a.desk.done.Decode(payload); err != nil {
			return err
		}
		a.end(now)
	case wire.TFence:
		if a.pool == nil {
			return nil
		}
		a.exit()
		return a.master.sawFence(payload, a.pool.name)
	case wire.TDrain:
		return a.drained(payload)
	case wire.TVerdict:
		var v wire.Verdict
		if err := v.Decode(payload); err != nil {
			return err
		}
		v.Detail = strings.Clone(v.Detail)
		a.verdict(v)
	default:
		return common(&a.out, t, payload, "agent")
	}
	return nil
}

// register puts the agent's server into its pool, or tells what has changed of it.
func (a *agent) register(ctx context.Context, now balance.Instant, payload []byte) error {
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
	if err := spec.Check(); err != nil { // first: of a bad one nothing is left here
		return &wire.Fail{Code: wire.BadRegister, Detail: err.Error()}
	}
	p := a.master.openPool(r.Pool)
	if p == nil && a.pool == nil && poolName.MatchString(r.Pool) {
		if a.master.postpone(a, strings.Clone(r.Pool)) {
			return nil
		}
		p = a.master.openPool(r.Pool)
	}
	if p == nil {
		return &wire.Fail{Code: wire.Unknown, Detail: fmt.Sprintf("no pool %q here: name it in the master's file", clip(r.Pool))}
	}
	a.master.peers.place(a, spec.Address)
	if err := a.admit(p, spec.Address); err != nil {
		a.master.refusals.Add(err)
		return err
	}
	if err := a.claim(ctx, p.name); err != nil {
		return err
	}
	fresh := a.pool == nil
	a.pool, a.waits = p, false
	a.mu.Lock()
	a.registered, a.address = p, spec.Address
	a.mu.Unlock()
	a.enter().declared.comesFrom(spec.ID, a.from)
	if err := a.enter().put(now, spec, false); err != nil {
		return &wire.Fail{Code: wire.BadRegister, Detail: err.Error()}
	}
	down := strings.Clone(r.Down)
	a.pool.setHealth(now, spec.ID, balance.ByAgent, down)
	a.exit()
	if fresh {
		a.tellDrain(p)
	}
	switch {
	case fresh && down != "":
		a.log.Warn("agent registered, and its server cannot serve", "pool", p.name, "address", spec.Address, "err", down)
	case fresh:
		a.log.Info("agent registered", "pool", p.name, "address", spec.Address)
	case down == a.down: // else the log says that it is out, or back in
		a.log.Info("server changed", "pool", p.name, "address", spec.Address)
	}
	a.down = down
	return nil
}

// admit refuses an agent whose certificate and address do not allow it to put a server with that
// address into the pool. The pool must not be locked.
func (a *agent) admit(p *pool, address string) error {
	p.mu.Lock()
	rules, file, tells := p.access.Load(), p.declared.file[a.server], p.declared.tells[a.server]
	p.mu.Unlock()
	if err := rules.agent(p.name, string(a.server), a.who, file != nil); err != nil {
		return err
	}
	if file != nil && tells&TellsAddress == 0 {
		return nil // the file says where the server is, whatever the agent does
	}
	return rules.address(p.name, address, a.who, a.from, a.master.inside)
}

// notice is how long a newcomer waits for the end of an agent that may have died a
// moment ago, such as the former life of its own process.
const notice = 100 * time.Millisecond

// claim takes the place of the server's agent, also from one that has gone silent.
func (a *agent) claim(ctx context.Context, pool string) error {
	key := agentKey{pool, a.server}
	for {
		holder := a.master.peers.addAgent(key, a)
		if holder == a {
			return nil
		}
		quiet := clock.Now().Sub(balance.Instant(holder.heard.Load()))
		same := a.instance != 0 && a.instance == holder.instance
		switch {
		case same && slices.Contains(a.connected, a.master.epoch):
			return &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("the agent of server %s is connected to this master already, from %s: two of its addresses for masters are one master's", a.server, holder.remote)}
		case same:
			holder.drop(&wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("the agent of server %s has connected anew from %s", a.server, a.remote)})
		case quiet >= silence:
			holder.drop(&wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("server %s has a new agent, %s, after %v of silence from this one", a.server, a.remote, quiet.Round(time.Millisecond))})
		}
		select {
		case <-holder.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(notice):
			return &wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("server %s of pool %s has an agent already: %s, last heard %v ago", a.server, pool, holder.remote, quiet.Round(time.Millisecond))}
		}
	}
}

// report takes the agent's word on its own server and on no other.
func (a *agent) report(now balance.Instant) error {
	for i := range a.desk.reports.Reports {
		r := &a.desk.reports.Reports[i]
		if err := a.fill(r); err != nil {
			return err
		}
		r.Report.Server = cmp.Or(r.Report.Server, a.server)
		switch {
		case a.pool == nil:
			a.master.strayReports.Add(1)
			a.faults.add(errors.New("report before the registration"))
		case r.Report.Server != a.server || r.Pool != "" && r.Pool != a.pool.name:
			a.enter().tally.reports[fromAgent][foreign]++
			if !a.overreach {
				a.overreach = true
				a.faults.add(fmt.Errorf("report for server %q of pool %q, which this agent does not speak for; this and all further ones are ignored", clip(string(r.Report.Server)), clip(r.Pool)))
			}
		default:
			if err := a.enter().report(now, &r.Report, fromAgent); err != nil {
				a.faults.add(err)
			}
		}
	}
	return nil
}

// end ends a lease of the agent's own server, and of no other. The tag says that the server was
// told of it: a client can make its server's application say any id.
func (a *agent) end(now balance.Instant) {
	d := &a.desk.done
	if a.pool == nil || d.Pool != a.pool.name {
		a.faults.add(fmt.Errorf("done for lease %s of pool %q, which is not this agent's", d.Lease, clip(d.Pool)))
		return
	}
	if a.enter().doneByTag(now, balance.TaggedLease{ID: d.Lease, Tag: d.Tag}, a.server, d.Outcome, fromAgent) == balance.Foreign {
		a.faults.add(fmt.Errorf("done for lease %s, which is another server's, a routed one, or of another tag", d.Lease))
	}
}

// expect returns where the verdict on a lease will come, or be closed if the agent
// is lost before, and wants forget in any case; nil if it is lost already. Any goroutine may call it.
func (a *agent) expect(lease balance.LeaseID) <-chan wire.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return nil
	}
	answer := make(chan wire.Verdict, 1)
	a.verdicts[lease] = answer
	a.master.loops.hurry(1)
	return answer
}

// forget gives up waiting for a verdict. Any goroutine may call it.
func (a *agent) forget(lease balance.LeaseID) {
	a.mu.Lock()
	delete(a.verdicts, lease)
	a.mu.Unlock()
	a.master.loops.hurry(-1)
}

// verdict hands a verdict to whoever waits for it. One that nobody waits for came
// too late and means nothing.
func (a *agent) verdict(v wire.Verdict) {
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
