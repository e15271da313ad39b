package client

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// agentProtocol is an agent's side of the protocol with one master. It does no I/O, like edgeProtocol.
type agentProtocol struct {
	session
	register       wire.Register
	pendingReports pendingReports // the latest report, while there is no connection
	forms          forms
	dones          []wire.Done
	overrides      overrideSync // of this server only
	refused        uint64       // the fence that the master was told of; zero: none

	unplaced        string // why a connected master has not registered the server; empty: it has
	unplacedChanged bool   // unplaced has changed; collect moves it to unplacedNews
	unplacedNews    bool

	dispatches []Dispatch // received
	toHandle   []Dispatch // set aside by collect for deliver
	ends       []wire.Ended
	toEnd      []wire.Ended // set aside by collect for deliver

	working      func() []balance.LeaseID // leases whose end the master may know; nil: none are remembered
	overrideNews bool                     // an override has come; set aside by collect
}

func newAgentProtocol(pool string, spec balance.ServerSpec, software string) *agentProtocol {
	return &agentProtocol{
		session:   session{roleParams: agentParams, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleAgent, ID: string(spec.ID), Software: software}},
		register:  wire.Register{Pool: pool, Server: spec},
		overrides: overrideSync{overrides: newOverrides()},
	}
}

// awaitsReply is always true: a dispatch may come at any time.
func (t *agentProtocol) awaitsReply() bool { return true }

func (t *agentProtocol) asksInFlight() int { return 0 }

func (t *agentProtocol) base() *session { return &t.session }

func (t *agentProtocol) onWelcomed(now balance.Instant) {
	t.appendRegistration(now)
}

// isPlaced reports whether the master has registered the server and takes its messages.
func (t *agentProtocol) isPlaced() bool { return t.stage == connected && t.unplaced == "" }

// appendRegistration registers the server and sends all that has waited.
func (t *agentProtocol) appendRegistration(now balance.Instant) {
	t.forms.reset()
	t.out, t.urgent = t.register.Append(t.out), true
	t.overrides.sentSeq = 0
	t.out = t.overrides.appendUnsent(t.takesOverrides, t.out)
	t.flushReports(now)
	for i := range t.dones {
		t.out = t.dones[i].Append(t.out)
	}
	t.dones = t.dones[:0]
	t.appendWorking()
}

// appendWorking asks the master which of the accepted leases are over. It returns false if there are none to ask about.
func (t *agentProtocol) appendWorking() bool {
	if t.working == nil || !t.isPlaced() || !t.tellsEnds {
		return false
	}
	leases := t.working()
	if len(leases) == 0 || len(t.out) > maxUnwritten {
		return false
	}
	t.out = (&wire.Working{Leases: leases}).Append(t.out)
	return true
}

// setServing records why the server cannot serve; empty: it can.
func (t *agentProtocol) setServing(problem string) {
	if t.register.Down == problem {
		return
	}
	t.register.Down = problem
	if t.isPlaced() {
		t.out = t.register.Append(t.out)
	}
}

// storeReport sends a report, or keeps it until there is a connection.
func (t *agentProtocol) storeReport(now balance.Instant, r *balance.Report) {
	t.pendingReports.put(now, t.register.Pool, r)
	t.flushReports(now)
}

func (t *agentProtocol) flushReports(now balance.Instant) {
	if t.isPlaced() && len(t.out) < maxUnwritten && len(t.pendingReports.list) > 0 {
		reports := t.pendingReports.take(now, maxPending)
		t.out = t.forms.assign(t.out, reports)
		for i := range reports { // the connection speaks for one server only, so its name is left out
			reports[i].Pool, reports[i].Report.Server = "", ""
		}
		t.out = (&wire.Reports{Reports: reports}).Append(t.out)
	}
}

func (t *agentProtocol) appendDone(lease balance.TaggedLease, o balance.Outcome) error {
	m := wire.Done{Pool: t.register.Pool, Lease: lease.ID, Tag: lease.Tag, Outcome: o}
	switch {
	case t.isPlaced() && len(t.out) > maxBacklog:
		return errBacklog
	case t.isPlaced():
		t.out = m.Append(t.out)
	case len(t.dones) < maxDones:
		t.dones = append(t.dones, m)
	}
	return nil
}

// appendVerdict answers a dispatch of the current session.
func (t *agentProtocol) appendVerdict(m wire.Verdict) {
	if t.stage == connected {
		t.out = m.Append(t.out)
	}
}

func (t *agentProtocol) goodbye(balance.Instant) {
	if t.stage == connected {
		t.sendGoodbye()
	}
}

func (t *agentProtocol) lost(error) {
	t.dispatches, t.ends, t.refused, t.unplaced = t.dispatches[:0], t.ends[:0], 0, ""
	t.close()
}

func (t *agentProtocol) receive(now balance.Instant, buf []byte) (int, error) {
	return t.session.receive(now, buf, t)
}

func (t *agentProtocol) onRoleFrame(now balance.Instant, typ wire.Type, payload []byte) error {
	switch typ {
	case wire.TDispatch:
		return t.onDispatch(payload)
	case wire.TEnded:
		var m wire.Ended
		if err := m.Decode(payload); err != nil {
			return err
		}
		t.ends = append(t.ends, m)
		return nil
	case wire.TDrain, wire.TOverride:
		_, err := t.overrides.onOverride(payload)
		return err
	case wire.TUnplaced:
		return t.onUnplaced(now, payload)
	}
	return unexpected(typ)
}

// onUnplaced handles an Unplaced.
func (t *agentProtocol) onUnplaced(now balance.Instant, payload []byte) error {
	var m wire.Unplaced
	if err := m.Decode(payload); err != nil {
		return err
	}
	t.unplaced, t.unplacedChanged = strings.Clone(m.Detail), true
	if m.Detail == "" && t.stage == connected {
		t.appendRegistration(now)
	}
	return nil
}

func (t *agentProtocol) onDispatch(payload []byte) error {
	var m wire.Dispatch
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Lease == 0 {
		return &wire.FrameError{What: fmt.Sprintf("dispatch of pool %q without a lease", m.Pool)}
	}
	r := &m.Request
	for _, s := range []*string{&m.Pool, (*string)(&m.Edge), &r.Key, &r.Tenant, &r.Method, &r.Host, &r.Path, &r.Class} {
		*s = strings.Clone(*s)
	}
	t.dispatches = append(t.dispatches, Dispatch(m))
	return nil
}

func (t *agentProtocol) collect() {
	t.dispatches, t.toHandle = t.toHandle[:0], t.dispatches
	t.ends, t.toEnd = t.toEnd[:0], t.ends
	t.overrides.news, t.overrideNews = false, t.overrides.news
	t.unplacedChanged, t.unplacedNews = false, t.unplacedChanged
}
