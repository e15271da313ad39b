package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// edge is the connection of an edge. Unless said otherwise its fields belong to the
// connection's reader, as do its methods.
type edge struct {
	*conn
	master  *Master
	id      balance.EdgeID
	watches int // guarded by peers.mu

	instance  uint64   // set once: of the edge's process; zero: unknown
	connected []uint64 // set once: epochs of the masters that its hello named
	name      string   // set once: the id without the number of an heir, as certificates have it
	bound     bool     // set once: its certificate names pools

	held   *pool  // locked by frame until settle, or until another pool is needed
	barred string // the last pool that it may not speak in, so that the log has it once
	named  string // the pool that its last ask or done named
	told   numbers
	began  balance.Instant
	asks   int    // answered under the lock that is held
	out    []byte // answers of this batch

	recent recent // granted at once

	waiters   sync.WaitGroup // of asks that are answered later, and of snapshots
	waitMu    sync.Mutex     // guards the following; may be locked under a pool's lock
	waiting   map[uint64]context.CancelCauseFunc
	late      recent // granted to those who waited
	beginning map[*feed]struct{}
}

// mostWaiting bounds the asks of one edge that are in queues, or whose servers are
// being told, at a time.
const mostWaiting = longestQueue

// newEdge welcomes an edge, or refuses it. It waits for the end of the connection that had
// the edge's id until now.
func (m *Master) newEdge(c *conn, hello *wire.Hello) (*edge, error) {
	e := &edge{conn: c, master: m, id: balance.EdgeID(hello.ID), instance: hello.Instance, connected: hello.Connected, waiting: make(map[uint64]context.CancelCauseFunc), beginning: make(map[*feed]struct{})}
	c.log, c.software = c.log.With("edge", hello.ID), hello.Software
	e.name, _, _ = strings.Cut(hello.ID, trust.Heir)
	e.bound = c.who != nil && len(c.who.Pools) > 0
	admitted := m.peers.addEdge(clock.Now(), e, m.epoch)
	if fail := admitted.refused; fail != nil {
		if admitted.log {
			c.log.Error("edge refused: two processes use its id", "err", fail)
		}
		return nil, fail
	}
	m.peers.enter(roleEdge)
	c.account = &m.peers.accounts[roleEdge]
	if before := admitted.before; before != nil {
		before.drop(placeTaken(e, before, admitted.rival))
		<-before.ended // its leases must count as lost before this one's Hold confirms them
	}
	m.lostEdges.forget(e.id, nil)
	m.welcome(c, hello)
	c.log.Info("edge connected", "software", hello.Software)
	return e, nil
}

// placeTaken is what an edge's connection is told whose place another one takes. One of the same process
// that lives may have been made at the same moment, by another of the master's addresses.
func placeTaken(e, before *edge, rival bool) *wire.Fail {
	switch {
	case rival:
		return &wire.Fail{Code: wire.Taken, Detail: "another process has taken this one's place: " + twoEdges(e, before)}
	case before.isProcessOf(e):
		return &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("edge %s has connected anew, from %s", e.id, e.remote)}
	}
	return &wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("edge %s has connected anew from %s", e.id, e.remote)}
}

// steady implements peer.
func (e *edge) steady() bool { return true }

// errStops stands in the log for the end of the master itself.
var errStops = errors.New("this master stops")

// whyLeft is why a peer's connection has ended, for the log.
func whyLeft(why error) error {
	if why == context.Canceled {
		return errStops
	}
	return why
}

// leave implements peer.
func (e *edge) leave(why error) {
	m := e.master
	m.peers.removeEdge(e)
	e.withdraw(why)
	e.waiters.Wait()
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		switch {
		case isDenied(why):
			p.denied(now, e.id)
		case errors.Is(why, errGoodbye):
			p.left(now, e.id)
		default:
			p.lost(now, e.id)
		}
		p.touch() // for there is an edge less
		p.unlock()
	}
	if !isDenied(why) {
		m.lostEdges.watch(m, e)
	}
	e.log.Info("edge disconnected", "err", whyLeft(why))
	m.peers.leave(roleEdge)
}

// enter locks a pool, or keeps it locked, and returns nil if there is none of that name for
// this edge.
func (e *edge) enter(name string) *pool {
	if e.held != nil && e.held.name == name {
		return e.held
	}
	e.exit()
	if p := e.master.pool(name); p != nil {
		p.mu.Lock()
		if e.held = p; (e.bound || len(p.access.Load().edges) > 0) && !e.admitted(p) {
			e.exit()
		}
	}
	return e.held
}

// admitted reports whether the edge may speak in a pool.
func (e *edge) admitted(p *pool) bool {
	if p.access.Load().edge(p.name, e.name, e.who) {
		return true
	}
	if e.barred != p.name {
		e.barred = p.name
		err := e.notAdmitted(p.name)
		e.master.refusals.Add(err)
		e.faults.add(err)
	}
	return false
}

func (e *edge) notAdmitted(pool string) error {
	return trust.Refuse(trust.WrongPool, "edge %s may not speak in pool %s: its certificate is for other pools, or pools.%s.edges does not list it", e.name, pool, pool)
}

func (e *edge) exit() {
	if e.held == nil {
		return
	}
	if e.asks > 0 {
		e.held.tally.took.observe(clock.Now().Sub(e.began), e.asks)
		e.asks = 0
	}
	e.held.unlock()
	e.held = nil
}

func (e *edge) settle(balance.Instant) []byte {
	e.exit()
	out := e.out
	if e.out = e.out[:0]; cap(e.out) > batchBytes {
		e.out = nil
	}
	return out
}

func (e *edge) frame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error {
	switch t {
	case wire.TAsk:
		if err := e.desk.ask.Decode(payload, now); err != nil {
			return err
		}
		return e.answer(ctx, now)
	case wire.TDone:
		if err := e.desk.done.Decode(payload); err != nil {
			return err
		}
		if p := e.enter(e.meant(e.desk.done.Pool)); p != nil {
			if p.done(now, e.id, e.desk.done.Lease, e.desk.done.Outcome, fromEdge) == balance.Foreign {
				e.faults.add(fmt.Errorf("done for lease %s of pool %s, which is not this edge's", e.desk.done.Lease, p.name))
			}
		}
	case wire.TReports:
		if err := e.desk.reports.Decode(payload); err != nil {
			return err
		}
		return e.report(now, e.desk.reports.Reports, "")
	case wire.TForm:
		return e.learn(&e.master.forms, payload)
	case wire.THold:
		if err := e.desk.hold.Decode(payload); err != nil {
			return err
		}
		e.confirm(now)
	case wire.TFence:
		e.exit()
		return e.master.sawFence(payload, "")
	case wire.TDrain:
		return e.drained(payload)
	case wire.TCancel:
		return e.cancel(now, payload)
	case wire.TWatch:
		return e.watch(payload)
	default:
		return common(&e.out, t, payload, "edge")
	}
	return nil
}

// common takes what every peer may send, and refuses the rest.
func common(out *[]byte, t wire.Type, payload []byte, who string) error {
	switch t {
	case wire.TPing:
		var ping wire.Ping
		if err := ping.Decode(payload); err != nil {
			return err
		}
		*out = (&wire.Pong{Seq: ping.Seq}).Append(*out)
		return nil
	case wire.TPong:
		return nil
	case wire.TGoodbye:
		return errGoodbye
	case wire.TFail:
		var fail wire.Fail
		if err := fail.Decode(payload); err != nil {
			return err
		}
		fail.Detail = strings.Clone(fail.Detail)
		return fmt.Errorf("%w: %w", errPeerFailed, &fail)
	case wire.TAsk, wire.TCancel, wire.THold, wire.TWatch, wire.TDone, wire.TReports, wire.TRegister, wire.TVerdict,
		wire.TGranted, wire.TQueued, wire.TRefused, wire.TSnapshot, wire.TChange, wire.TDispatch, wire.THello, wire.TWelcome:
		return &wire.Fail{Code: wire.BadRole, Detail: fmt.Sprintf("this connection is an %s's, which may not send a %s", who, t)}
	}
	return &wire.Fail{Code: wire.BadFrame, Detail: fmt.Sprintf("%s is not known", t)}
}

// answer answers desk.ask, or has it wait and be answered later.
func (e *edge) answer(ctx context.Context, now balance.Instant) error {
	name := e.meant(e.desk.ask.Pool)
	if len(e.desk.ask.Reports) > 0 { // first: the pick may follow from them
		if err := e.report(now, e.desk.ask.Reports, name); err != nil {
			return err
		}
	}
	p := e.enter(name)
	if p == nil {
		e.master.strayAsks.Add(1)
		refusal := unknownPool(name)
		if e.barred == name {
			refusal.Detail = e.notAdmitted(name).Error()
		}
		e.refuse(e.desk.ask.Seq, refusal)
		return nil
	}
	req := &e.desk.ask.Request
	req.Edge = e.id
	granted := wire.Granted{Seq: e.desk.ask.Seq}
	grant := &granted.Grant
	wait, err := p.ask(now, req, grant)
	if wait != nil {
		e.later(ctx, now, p, wait)
		return nil
	}
	p.count(now, newAsked(req), err, 0)
	e.began, e.asks = now, e.asks+1
	if err != nil {
		e.refuse(e.desk.ask.Seq, refusal(err))
		return nil
	}
	e.recent.add(e.desk.ask.Seq, p, grant.Lease)
	var known bool
	if granted.Number, known = e.told.number(p.number, grant.Serial); known {
		grant.Server, grant.Address, grant.At, grant.Public = "", "", "", ""
	}
	e.out = granted.Append(e.out, now)
	return nil
}

// meant returns the pool that an ask or a done is for: the last one named, if it names none.
func (e *edge) meant(name string) string {
	if name != "" && name != e.named {
		e.named = strings.Clone(name)
	}
	return e.named
}

func (e *edge) refuse(seq uint64, r *balance.Refusal) {
	e.out = (&wire.Refused{Seq: seq, Refusal: *r}).Append(e.out)
}

// report takes reports, those that name no pool as of this one.
func (e *edge) report(now balance.Instant, reports []wire.PoolReport, pool string) error {
	for i := range reports {
		r := &reports[i]
		if err := e.fill(r); err != nil {
			return err
		}
		p := e.enter(cmp.Or(r.Pool, pool))
		if p == nil {
			e.master.strayReports.Add(1)
			e.faults.add(fmt.Errorf("report for pool %q, which is not here", clip(r.Pool)))
			continue
		}
		if err := p.report(now, &r.Report, fromEdge); err != nil {
			e.faults.add(err)
		}
	}
	return nil
}

func (e *edge) confirm(now balance.Instant) {
	h := &e.desk.hold
	p := e.enter(h.Pool)
	if p == nil && e.master.openPool(h.Pool) != nil { // its agents are still on their way back
		p = e.enter(h.Pool)
	}
	if p != nil && !p.leads(now) {
		return // the one that leads keeps the ledger
	}
	if p == nil {
		e.faults.add(fmt.Errorf("lease %s of pool %q, which is not here", h.Lease, clip(h.Pool)))
		return
	}
	if err := p.hold(now, e.id, h); err != nil {
		e.faults.add(err)
	}
}

func (e *edge) watch(payload []byte) error {
	var w wire.Watch
	if err := w.Decode(payload); err != nil {
		return err
	}
	name := strings.Clone(w.Pool)
	e.exit()
	p := e.master.pool(name)
	if p != nil && !e.admitted(p) {
		return nil // it is told nothing of that pool, and the log has it
	}
	f := e.master.peers.addWatch(name, e)
	if f == nil {
		return e.master.peers.over(roleEdge, byWatches, "more than %d pools watched, the most that one edge may (limits.watches)", e.master.peers.most.Watches)
	}
	if p == nil {
		e.faults.add(fmt.Errorf("watch for pool %q, which is not here", clip(name)))
	}
	if p != nil && p.lead.elected {
		p.mu.Lock()
		e.send(p.tellLead()) // under the lock, as later ones
		p.mu.Unlock()
	}
	if p != nil {
		e.tellDrains(p)
	}
	e.begin(f, p)
	return nil
}

// begin has the edge told of a pool, in the background: to put a snapshot of thousands of
// servers together takes time, which others that are read by the same loop do not have.
func (e *edge) begin(f *feed, p *pool) {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if _, already := e.beginning[f]; already {
		return // it is about to be told
	}
	e.beginning[f] = struct{}{}
	e.waiters.Go(func() {
		e.waitMu.Lock()
		delete(e.beginning, f) // first: who watches once more from here on is told once more
		e.waitMu.Unlock()
		f.begin(clock.Now(), p, e, e.master.peers.watchers(f, p))
	})
}

// later answers desk.ask when what it waits for has come, in the background; other asks
// go on. Wants p locked.
func (e *edge) later(ctx context.Context, began balance.Instant, p *pool, wait *pending) {
	seq := e.desk.ask.Seq
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if len(e.waiting) >= mostWaiting {
		p.leave(began, began, wait)
		r := &balance.Refusal{Reason: balance.Saturated, Detail: fmt.Sprintf("%d asks of edge %s wait already, the most that may", mostWaiting, e.id)}
		p.count(began, wait.asked, r, 0)
		e.refuse(seq, r)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	e.waiting[seq] = cancel
	if wait.over != nil {
		e.send((&wire.Queued{Seq: seq, Position: uint32(wait.position)}).Append(nil)) // at once, so that the answer comes behind it
	}
	req := own(&e.desk.ask.Request, e.id)
	e.waiters.Go(func() {
		defer cancel(nil)
		grant, waited, err := e.master.obtain(ctx, p, began, req, wait)
		e.obtained(ctx, &wire.Granted{Seq: seq, Grant: grant, Queue: waited}, p, err)
	})
}

// obtained answers an ask that had to wait. It runs on a goroutine of its own.
func (e *edge) obtained(ctx context.Context, g *wire.Granted, p *pool, err error) {
	seq, grant := g.Seq, g.Grant
	e.waitMu.Lock()
	delete(e.waiting, seq)
	withdrawn := ctx.Err() != nil
	if err == nil && !withdrawn {
		e.late.add(seq, p, grant.Lease)
	}
	e.waitMu.Unlock()
	now := clock.Now()
	if err == nil && withdrawn {
		p.mu.Lock()
		p.end(now, grant.Lease, balance.Outcome{Result: balance.Canceled})
		p.unlock()
		err = context.Cause(ctx)
	}
	if r := refusal(err); r != nil {
		e.send((&wire.Refused{Seq: seq, Refusal: *r}).Append(nil))
	} else if err == nil {
		e.send(g.Append(nil, now))
	}
}

// errWithdrawn answers an ask that its edge has withdrawn, so that each has an answer.
var errWithdrawn = &balance.Refusal{Reason: balance.Shed, Detail: "withdrawn by the edge"}

func (e *edge) cancel(now balance.Instant, payload []byte) error {
	var c wire.Cancel
	if err := c.Decode(payload); err != nil {
		return err
	}
	e.waitMu.Lock()
	cancel := e.waiting[c.Seq]
	p, lease := e.late.take(c.Seq)
	e.waitMu.Unlock()
	if p == nil {
		p, lease = e.recent.take(c.Seq)
	}
	if cancel != nil {
		cancel(errWithdrawn)
		return nil
	}
	if p == nil {
		return nil // answered long ago
	}
	if p != e.held {
		e.exit()
		p.mu.Lock()
		e.held = p
	}
	p.done(now, e.id, lease, balance.Outcome{Result: balance.Canceled}, fromEdge)
	return nil
}

// withdraw ends the asks that wait, for the edge is gone.
func (e *edge) withdraw(why error) {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	for _, cancel := range e.waiting {
		cancel(why)
	}
}

// recent remembers the last grants, whose cancellation may still be on its way.
type recent struct {
	ring []granted
	at   int
}

type granted struct {
	seq   uint64
	pool  *pool
	lease balance.LeaseID
}

const mostRecent = 1024

func (r *recent) add(seq uint64, p *pool, lease balance.LeaseID) {
	if len(r.ring) < mostRecent {
		r.ring = append(r.ring, granted{seq, p, lease})
		return
	}
	r.ring[r.at] = granted{seq, p, lease}
	r.at = (r.at + 1) % mostRecent
}

func (r *recent) take(seq uint64) (*pool, balance.LeaseID) {
	for i := range r.ring {
		if g := r.ring[i]; g.seq == seq && g.pool != nil {
			r.ring[i] = granted{}
			return g.pool, g.lease
		}
	}
	return nil, 0
}
