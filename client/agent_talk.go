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
	drains   drainTalk // of this server only
	refused  uint64    // the fence that the master was told has been seen; zero: none was

	unplaced string // why the master does not have the server, though it keeps the connection; empty: it has
	moved    bool   // unplaced has changed, set aside by collect as told
	told     bool

	dispatches []Dispatch // that came in
	handing    []Dispatch // set aside by collect, for the shell to take
	passing    bool       // a drain was heard; set aside by collect
}

func newAgentTalk(pool string, spec balance.ServerSpec, software string) *agentTalk {
	return &agentTalk{
		session:  session{habits: agentHabits, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: string(spec.ID), Software: software}},
		register: wire.Register{Pool: pool, Server: spec},
		drains:   drainTalk{drains: newDrains()},
	}
}

// expecting is always true: a dispatch may come at any time.
func (t *agentTalk) expecting() bool { return true }

func (t *agentTalk) underWay() int { return 0 }

func (t *agentTalk) base() *session { return &t.session }

func (t *agentTalk) welcomed(now balance.Instant) {
	t.enroll(now)
}

// placed reports whether the master takes what is said of the server.
func (t *agentTalk) placed() bool { return t.stage == up && t.unplaced == "" }

// enroll registers the server, and tells all that has waited.
func (t *agentTalk) enroll(now balance.Instant) {
	t.forms.forget()
	t.out, t.urgent = t.register.Append(t.out), true
	t.drains.told = 0
	t.out = t.drains.tell(t.out)
	t.flushReports(now)
	for i := range t.dones {
		t.out = t.dones[i].Append(t.out)
	}
	t.dones = t.dones[:0]
}

// serving returns why the server cannot serve, or "" if it can.
func (t *agentTalk) serving(problem string) {
	if t.register.Down == problem {
		return
	}
	t.register.Down = problem
	if t.placed() {
		t.out = t.register.Append(t.out)
	}
}

// report sends a report, or keeps it until there is a connection.
func (t *agentTalk) report(now balance.Instant, r *balance.Report) {
	t.pending.put(now, t.register.Pool, r)
	t.flushReports(now)
}

func (t *agentTalk) flushReports(now balance.Instant) {
	if t.placed() && len(t.out) < mostUnwritten && len(t.pending.list) > 0 {
		reports := t.pending.take(now, maxPending)
		t.out = t.forms.give(t.out, reports)
		for i := range reports { // it is the only server that this connection may speak for
			reports[i].Pool, reports[i].Report.Server = "", ""
		}
		t.out = (&wire.Reports{Reports: reports}).Append(t.out)
	}
}

func (t *agentTalk) done(lease balance.TaggedLease, o balance.Outcome) error {
	m := wire.Done{Pool: t.register.Pool, Lease: lease.ID, Tag: lease.Tag, Outcome: o}
	switch {
	case t.placed() && len(t.out) > clogged:
		return errClogged
	case t.placed():
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
	t.dispatches, t.refused, t.unplaced = t.dispatches[:0], 0, ""
	t.close()
}

func (t *agentTalk) receive(now balance.Instant, buf []byte) (int, error) {
	return t.session.receive(now, buf, t)
}

func (t *agentTalk) frame(now balance.Instant, typ wire.Type, payload []byte) error {
	switch typ {
	case wire.TDispatch:
		return t.dispatch(payload)
	case wire.TDrain:
		_, err := t.drains.hear(payload)
		return err
	case wire.TUnplaced:
		return t.place(now, payload)
	}
	return unexpected(typ)
}

// place takes an Unplaced.
func (t *agentTalk) place(now balance.Instant, payload []byte) error {
	var m wire.Unplaced
	if err := m.Decode(payload); err != nil {
		return err
	}
	t.unplaced, t.moved = strings.Clone(m.Detail), true
	if m.Detail == "" && t.stage == up {
		t.enroll(now)
	}
	return nil
}

func (t *agentTalk) dispatch(payload []byte) error {
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

func (t *agentTalk) collect() {
	t.dispatches, t.handing = t.handing[:0], t.dispatches
	t.drains.heard, t.passing = false, t.drains.heard
	t.moved, t.told = false, t.moved
}
