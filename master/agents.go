package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// agent is the connection of an agent, which speaks for one server. Unless said
// otherwise its fields belong to the connection's reader, as do its methods.
type agent struct {
	*conn
	master *Master
	server balance.ServerID
	pool   *pool // nil until it has registered
	held   bool  // pool is locked, from frame until settle
	out    []byte

	overreach bool // it has reported for another's server, and that is in the log

	mu       sync.Mutex // guards the following
	verdicts map[balance.LeaseID]chan wire.Verdict
	gone     bool
}

// silence is how long an agent may be quiet and still keep a newcomer from its
// place: it has missed its pings by then.
const silence = 5 * time.Second

func (m *Master) newAgent(c *conn, hello *wire.Hello) *agent {
	a := &agent{conn: c, master: m, server: balance.ServerID(hello.ID), verdicts: make(map[balance.LeaseID]chan wire.Verdict)}
	c.log = c.log.With("server", hello.ID)
	m.peers.enter(roleAgent)
	m.welcome(c, hello)
	return a
}

// leave implements peer.
func (a *agent) leave(why error) {
	a.vacate(why)
	if a.pool == nil {
		a.log.Warn("agent refused", "err", why)
	} else {
		a.log.Info("agent disconnected", "pool", a.pool.name, "err", why)
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
	if errors.Is(why, errGoodbye) {
		a.pool.mu.Lock()
		a.pool.goodbye(clock.Now(), a.server)
		a.pool.unlock()
	}
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
	p := a.master.openPool(r.Pool)
	if p == nil {
		return &wire.Fail{Code: wire.Unknown, Detail: fmt.Sprintf("no pool %q here: name it in the master's file", clip(r.Pool))}
	}
	if err := a.claim(ctx, p.name); err != nil {
		return err
	}
	fresh := a.pool == nil
	a.pool = p
	if err := a.enter().put(now, spec, false); err != nil {
		return &wire.Fail{Code: wire.BadRegister, Detail: err.Error()}
	}
	a.exit()
	if fresh {
		a.log.Info("agent registered", "pool", p.name, "address", spec.Address)
	} else {
		a.log.Info("server changed", "pool", p.name, "address", spec.Address)
	}
	return nil
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
		if quiet >= silence {
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

// end ends a lease of the agent's own server, and of no other.
func (a *agent) end(now balance.Instant) {
	d := &a.desk.done
	if a.pool == nil || d.Pool != a.pool.name {
		a.faults.add(fmt.Errorf("done for lease %s of pool %q, which is not this agent's", d.Lease, clip(d.Pool)))
		return
	}
	p := a.enter()
	switch l, open := p.core.Lease(d.Lease); {
	case !open: // its edge has said so before
	case l.Server != a.server:
		a.faults.add(fmt.Errorf("done for lease %s of server %s, which this agent does not speak for", d.Lease, l.Server))
	default:
		p.done(now, d.Lease, d.Outcome)
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
