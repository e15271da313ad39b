package client

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// agentTalk is an agent's side of the conversation with one master. It is pure, like edgeTalk.
type agentTalk struct {
	session
	register wire.Register
	pending  pending // the latest report, while there is no connection
	forms    forms
	dones    []wire.Done

	dispatches []Dispatch // that came in
	handing    []Dispatch // set aside by collect, for the shell to take
}

func newAgentTalk(pool string, spec balance.ServerSpec, software string) *agentTalk {
	return &agentTalk{
		session:  session{habits: agentHabits, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: string(spec.ID), Software: software}},
		register: wire.Register{Pool: pool, Server: spec},
	}
}

// expecting is always true: a dispatch may come at any time.
func (t *agentTalk) expecting() bool { return true }

func (t *agentTalk) underWay() int { return 0 }

func (t *agentTalk) base() *session { return &t.session }

func (t *agentTalk) welcomed(now balance.Instant) {
	t.forms.forget()
	t.out = t.register.Append(t.out)
	t.flushReports(now)
	for i := range t.dones {
		t.out = t.dones[i].Append(t.out)
	}
	t.dones = t.dones[:0]
}

// report sends a report, or keeps it until there is a connection.
func (t *agentTalk) report(now balance.Instant, r *balance.Report) {
	t.pending.put(now, t.register.Pool, r)
	t.flushReports(now)
}

func (t *agentTalk) flushReports(now balance.Instant) {
	if t.stage == up && len(t.out) < mostUnwritten && len(t.pending.list) > 0 {
		reports := t.pending.take(now, maxPending)
		t.out = t.forms.give(t.out, reports)
		for i := range reports { // it is the only server that this connection may speak for
			reports[i].Pool, reports[i].Report.Server = "", ""
		}
		t.out = (&wire.Reports{Reports: reports}).Append(t.out)
	}
}

func (t *agentTalk) done(id balance.LeaseID, o balance.Outcome) error {
	m := wire.Done{Pool: t.register.Pool, Lease: id, Outcome: o}
	switch {
	case t.stage == up && len(t.out) > clogged:
		return errClogged
	case t.stage == up:
		t.out = m.Append(t.out)
	case len(t.dones) < maxDones:
		t.dones = append(t.dones, m)
	}
	return nil
}

// verdict answers a dispatch of the session that is open.
func (t *agentTalk) verdict(m wire.Verdict) {
	if t.stage == up {
		t.out = m.Append(t.out)
	}
}

func (t *agentTalk) goodbye(balance.Instant) {
	if t.stage == up {
		t.bye()
	}
}

func (t *agentTalk) lost(error) {
	t.dispatches = t.dispatches[:0]
	t.close()
}

func (t *agentTalk) receive(now balance.Instant, buf []byte) (int, error) {
	return t.session.receive(now, buf, t)
}

func (t *agentTalk) frame(_ balance.Instant, typ wire.Type, payload []byte) error {
	if typ != wire.TDispatch {
		return unexpected(typ)
	}
	var m wire.Dispatch
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Lease == 0 {
		return &wire.FrameError{What: fmt.Sprintf("dispatch of pool %q without a lease", m.Pool)}
	}
	r := &m.Request
	for _, s := range []*string{&m.Pool, (*string)(&m.Edge), &r.Key, &r.Tenant, &r.Method, &r.Host, &r.Path} {
		*s = strings.Clone(*s)
	}
	t.dispatches = append(t.dispatches, Dispatch(m))
	return nil
}

func (t *agentTalk) collect() { t.dispatches, t.handing = t.handing[:0], t.dispatches }
