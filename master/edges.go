package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/suggest"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// edge is the connection of an edge. Unless said otherwise its fields and methods belong to the connection's
// reader.
type edge struct {
	*conn
	master     *Master
	id         balance.EdgeID
	watchCount int // guarded by peers.mu

	instance     uint64   // set once: identifies the edge's process; zero: unknown
	connected    []uint64 // set once: epochs of the masters that its hello named
	name         string   // set once: the id without the suffix of a successor process, as on certificates
	boundToPools bool     // set once: its certificate names pools

	lockedPool *pool        // locked from onFrame until takeReplies, or until another pool is needed
	lastBarred string       // the last pool that it was denied, which is logged once
	choseAt    atomic.Int64 // when, as a balance.Instant, it last chose a server itself; zero: never
	lastNamed  string       // the pool that its last ask or done named
	numbers    serverNumbers
	batchStart balance.Instant
	batchAsks  int    // answered since lockedPool was locked
	out        []byte // answers to be written

	recentGrants grantRing // granted at once

	waiters      sync.WaitGroup // of asks that are answered later, and of snapshots
	waitMu       sync.Mutex     // guards the following; may be locked while a pool is
	waitingAsks  map[uint64]context.CancelCauseFunc
	lateGrants   grantRing // granted after a wait
	snapshotting map[*feed]struct{}
}

// maxWaiting bounds the asks of one edge that wait in queues or for verdicts.
const maxWaiting = longestQueue

// newEdge accepts an edge or refuses it. It waits for the end of an older connection with the same id.
func (m *Master) newEdge(c *conn, hello *wire.Hello) (*edge, error) {
	e := &edge{conn: c, master: m, id: balance.EdgeID(hello.ID), instance: hello.Instance, connected: hello.Connected, waitingAsks: make(map[uint64]context.CancelCauseFunc), snapshotting: make(map[*feed]struct{})}
	c.log, c.software = c.log.With("edge", hello.ID), hello.Software
	e.name, _, _ = strings.Cut(hello.ID, trust.Heir)
	e.boundToPools = c.identity != nil && len(c.identity.Pools) > 0
	admitted := m.peers.addEdge(clock.Now(), e, m.epoch)
	if fail := admitted.refused; fail != nil {
		if admitted.log {
			c.log.Error("edge refused: two processes use its id", "err", fail)
		}
		return nil, fail
	}
	m.peers.countIn(roleEdge)
	c.account = &m.peers.accounts[roleEdge]
	if before := admitted.before; before != nil {
		before.drop(replacedFail(e, before, admitted.rival))
		<-before.ended // its leases must count as lost before this connection's Holds confirm them
	}
	m.lostEdges.forget(e.id, nil)
	m.welcome(c, hello)
	c.log.Info("edge connected", "software", hello.Software)
	m.events.add(clock.Now(), event{Kind: eventEdgeConnected, Peer: strings.Clone(hello.ID)})
	return e, nil
}

// replacedFail is what an edge's connection is sent when another one replaces it. A second connection of the
// same process may have been made at the same moment, over another address of the master.
func replacedFail(e, before *edge, rival bool) *wire.Fail {
	switch {
	case rival:
		return &wire.Fail{Code: wire.Taken, Detail: "another process has taken this one's place: " + twoEdges(e, before)}
	case before.isProcessOf(e):
		return &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("edge %s has connected again, from %s", e.id, e.remote)}
	}
	return &wire.Fail{Code: wire.Taken, Detail: fmt.Sprintf("edge %s has connected again, from %s", e.id, e.remote)}
}

// readyForLoop implements peer.
func (e *edge) readyForLoop() bool { return true }

// errStops is logged when the master itself stops.
var errStops = errors.New("this master stops")

// disconnectReason returns why a connection has ended, for the log.
func disconnectReason(why error) error {
	if why == context.Canceled {
		return errStops
	}
	return why
}

// disconnectText is that reason in an event; empty: the peer said goodbye.
func disconnectText(why error) string {
	if why == nil || errors.Is(why, errGoodbye) {
		return ""
	}
	return disconnectReason(why).Error()
}

// onDisconnect implements peer.
func (e *edge) onDisconnect(why error) {
	m := e.master
	m.peers.removeEdge(e)
	e.cancelWaiting(why)
	e.waiters.Wait()
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		switch {
		case isDenied(why):
			p.edgeDeniedLocked(now, e.id)
		case errors.Is(why, errGoodbye):
			p.edgeLeftLocked(now, e.id)
		default:
			p.edgeLostLocked(now, e.id)
		}
		p.markChangedLocked() // there is one edge less
		p.unlock()
	}
	if !isDenied(why) {
		m.lostEdges.watchCertificate(m, e)
	}
	e.log.Info("edge disconnected", "err", disconnectReason(why))
	m.events.add(now, event{Kind: eventEdgeGone, Peer: string(e.id), Error: disconnectText(why)})
	m.peers.countOut(roleEdge)
}

// lockPool locks a pool, or keeps it locked. It returns nil if there is no such pool for this edge.
func (e *edge) lockPool(name string) *pool {
	if e.lockedPool != nil && e.lockedPool.name == name {
		return e.lockedPool
	}
	e.unlockPool()
	if p := e.master.poolNamed(name); p != nil {
		p.mu.Lock()
		if e.lockedPool = p; (e.boundToPools || len(p.access.Load().edges) > 0) && !e.mayUse(p) {
			e.unlockPool()
		}
	}
	return e.lockedPool
}

// mayUse reports whether the edge is allowed to use a pool.
func (e *edge) mayUse(p *pool) bool {
	if p.access.Load().allowsEdge(p.name, e.name, e.identity) {
		return true
	}
	if e.lastBarred != p.name {
		e.lastBarred = p.name
		err := e.wrongPoolRefusal(p.name)
		e.master.refusals.Add(err)
		e.faults.add(err)
	}
	return false
}

func (e *edge) wrongPoolRefusal(pool string) error {
	return trust.Refuse(trust.WrongPool, "edge %s may not use pool %s: its certificate is for other pools, or pools.%s.edges does not list it", e.name, pool, pool)
}

func (e *edge) unlockPool() {
	if e.lockedPool == nil {
		return
	}
	if e.batchAsks > 0 {
		e.lockedPool.stats.answerTimes.Observe(answerScale, clock.Now().Sub(e.batchStart), e.batchAsks)
		e.batchAsks = 0
	}
	e.lockedPool.unlock()
	e.lockedPool = nil
}

func (e *edge) takeReplies(balance.Instant) []byte {
	e.unlockPool()
	out := e.out
	if e.out = e.out[:0]; cap(e.out) > batchBytes {
		e.out = nil
	}
	return out
}

func (e *edge) onFrame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error {
	switch t {
	case wire.TAsk:
		if err := e.buffers.ask.Decode(payload, now); err != nil {
			return err
		}
		return e.onAsk(ctx, now)
	case wire.TDone:
		if err := e.buffers.done.Decode(payload); err != nil {
			return err
		}
		if p := e.lockPool(e.poolName(e.buffers.done.Pool)); p != nil {
			if p.endByEdgeLocked(now, e.id, e.buffers.done.Lease, e.buffers.done.Outcome, fromEdge) == balance.Foreign {
				e.faults.add(fmt.Errorf("done for lease %s of pool %s, which is not this edge's", e.buffers.done.Lease, p.name))
			}
		}
	case wire.TReports:
		if err := e.buffers.reports.Decode(payload); err != nil {
			return err
		}
		return e.onReports(now, e.buffers.reports.Reports, "")
	case wire.TForm:
		return e.defineMetrics(&e.master.metricNames, payload)
	case wire.TChosen:
		if err := e.buffers.chosen.Decode(payload); err != nil {
			return err
		}
		e.onChosen(now)
	case wire.THold:
		if err := e.buffers.hold.Decode(payload); err != nil {
			return err
		}
		e.onHold(now)
	case wire.TSnapshot:
		return e.onRecall(now, payload)
	case wire.TFence:
		e.unlockPool()
		return e.master.sawFence(payload, "")
	case wire.TDrain, wire.TOverride:
		return e.onOverride(payload)
	case wire.TCancel:
		return e.onCancel(now, payload)
	case wire.TWatch:
		return e.onWatch(payload)
	default:
		return onCommonFrame(&e.out, t, payload, "edge")
	}
	return nil
}

// onCommonFrame handles the frames that both roles may send, and refuses all others.
func onCommonFrame(out *[]byte, t wire.Type, payload []byte, who string) error {
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
	case wire.TAsk, wire.TCancel, wire.TChosen, wire.THold, wire.TWatch, wire.TDone, wire.TReports, wire.TRegister, wire.TVerdict,
		wire.TGranted, wire.TQueued, wire.TRefused, wire.TSnapshot, wire.TChange, wire.TDispatch, wire.TEnded, wire.TWorking, wire.THello, wire.TWelcome:
		return &wire.Fail{Code: wire.BadRole, Detail: fmt.Sprintf("this connection is an %s's, which may not send a %s", who, t)}
	}
	return &wire.Fail{Code: wire.BadFrame, Detail: fmt.Sprintf("%s is not known", t)}
}

// onAsk answers buffers.ask, now or later.
func (e *edge) onAsk(ctx context.Context, now balance.Instant) error {
	name := e.poolName(e.buffers.ask.Pool)
	if len(e.buffers.ask.Reports) > 0 { // first: the pick may depend on them
		if err := e.onReports(now, e.buffers.ask.Reports, name); err != nil {
			return err
		}
	}
	p := e.lockPool(name)
	if p == nil {
		e.master.unknownPoolAsks.Add(1)
		refusal := unknownPool(name)
		if e.lastBarred == name {
			refusal.Detail = e.wrongPoolRefusal(name).Error()
		}
		e.appendRefused(e.buffers.ask.Seq, refusal)
		return nil
	}
	req := &e.buffers.ask.Request
	req.Edge = e.id
	granted := wire.Granted{Seq: e.buffers.ask.Seq}
	grant := &granted.Grant
	wait, err := p.pickOrWaitLocked(now, req, grant)
	if wait != nil {
		e.answerLater(ctx, now, p, wait)
		return nil
	}
	p.countAnswerLocked(now, newAsked(req), err, 0)
	e.batchStart, e.batchAsks = now, e.batchAsks+1
	if err != nil {
		e.appendRefused(e.buffers.ask.Seq, refusal(err))
		return nil
	}
	e.recentGrants.add(e.buffers.ask.Seq, p, grant.Lease)
	var known bool
	if granted.Number, known = e.numbers.number(p.number, grant.Serial); known {
		grant.Server, grant.Address, grant.At, grant.Public = "", "", "", ""
	}
	e.out = granted.Append(e.out, now)
	return nil
}

// poolName returns the pool of an ask or a done: the last one named, if it names none.
func (e *edge) poolName(name string) string {
	if name != "" && name != e.lastNamed {
		e.lastNamed = strings.Clone(name)
	}
	return e.lastNamed
}

func (e *edge) appendRefused(seq uint64, r *balance.Refusal) {
	e.out = (&wire.Refused{Seq: seq, Refusal: *r}).Append(e.out)
}

// onReports stores reports. Those that name no pool are for the given one.
func (e *edge) onReports(now balance.Instant, reports []wire.PoolReport, pool string) error {
	for i := range reports {
		r := &reports[i]
		if err := e.expandMetrics(r); err != nil {
			return err
		}
		p := e.lockPool(cmp.Or(r.Pool, pool))
		if p == nil {
			e.master.unknownPoolReports.Add(1)
			e.faults.add(fmt.Errorf("report for pool %q, which is not here", clip(r.Pool)))
			continue
		}
		if err := p.storeReportLocked(now, &r.Report, fromEdge); err != nil {
			e.faults.add(err)
		}
	}
	return nil
}

func (e *edge) onHold(now balance.Instant) {
	h := &e.buffers.hold
	p := e.lockPool(h.Pool)
	if p == nil && (e.identity == nil || e.identity.AllowsPool(h.Pool)) && e.master.openPool(h.Pool) != nil { // its agents may not have reconnected yet
		p = e.lockPool(h.Pool)
	}
	if p != nil && !p.isLeadingLocked(now) {
		return // the leader keeps the ledger
	}
	if p == nil {
		e.faults.add(fmt.Errorf("lease %s of pool %q, which is not here", h.Lease, clip(h.Pool)))
		return
	}
	if err := p.confirmLeaseLocked(now, e.id, h); err != nil {
		e.faults.add(err)
	}
}

// onChosen opens the lease of a request that the edge has sent to a server of its own choice.
func (e *edge) onChosen(now balance.Instant) {
	c := &e.buffers.chosen
	p := e.lockPool(e.poolName(c.Pool))
	if p == nil {
		e.faults.add(fmt.Errorf("lease %s of pool %q, which is not here", c.Lease, clip(e.lastNamed)))
		return
	}
	c.Request.Edge = e.id
	e.choseAt.Store(int64(now))
	if err := p.openChosenLocked(now, c); err != nil {
		e.faults.add(err)
	}
}

func (e *edge) onWatch(payload []byte) error {
	var w wire.Watch
	if err := w.Decode(payload); err != nil {
		return err
	}
	name := strings.Clone(w.Pool)
	e.unlockPool()
	p := e.master.poolNamed(name)
	if p != nil && !e.mayUse(p) {
		return nil // not allowed, which is logged
	}
	f := e.master.peers.addWatch(name, e)
	if f == nil {
		return e.master.peers.overLimit(roleEdge, byWatches, "more than %d pools watched, the most that one edge may (limits.watches)", e.master.peers.bounds.Watches)
	}
	if p == nil {
		e.faults.add(fmt.Errorf("watch for pool %q, which is not here", clip(name)))
		e.appendRefused(wire.WatchSeq, e.unknownPool(name))
	}
	if p != nil && p.lead.elected {
		p.mu.Lock()
		e.send(p.leadFrameLocked()) // under the lock, to keep the order
		p.mu.Unlock()
	}
	if p != nil {
		e.sendOverrides(p)
	}
	e.sendSnapshot(f, p)
	return nil
}

// maxComparedPools is how many pools' names are compared with one that is not known.
const maxComparedPools = 1000

// unknownPool is the refusal of a watch for a pool that does not exist. It names the pool that was probably meant, of
// those that the edge is allowed to use.
func (e *edge) unknownPool(name string) *balance.Refusal {
	var known []string
	list := e.master.pools.Load().list
	for _, p := range list[:min(len(list), maxComparedPools)] {
		if p.access.Load().allowsEdge(p.name, e.name, e.identity) {
			known = append(known, p.name)
		}
	}
	refusal := unknownPool(name)
	refusal.Pool = name
	refusal.Detail += suggest.DidYouMean(name, known, nil) + hasPools(known)
	return refusal
}

// namedPools is how many pools a refusal names.
const namedPools = 20

// hasPools says which pools there are.
func hasPools(known []string) string {
	switch rest := len(known) - namedPools; {
	case len(known) == 0:
		return "; it has no pool for this edge"
	case rest > 0:
		return fmt.Sprintf("; it has %s and %d more", strings.Join(known[:namedPools], ", "), rest)
	}
	return "; it has " + strings.Join(known, ", ")
}

// sendSnapshot sends the edge a pool's snapshot from another goroutine: encoding thousands of servers takes
// time, in which the loop's other connections would wait.
func (e *edge) sendSnapshot(f *feed, p *pool) {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if _, already := e.snapshotting[f]; already {
		return // it is about to be sent
	}
	e.snapshotting[f] = struct{}{}
	e.waiters.Go(func() {
		e.waitMu.Lock()
		delete(e.snapshotting, f) // first: a later watch is sent another snapshot
		e.waitMu.Unlock()
		f.sendSnapshotTo(clock.Now(), p, e, e.master.peers.watchers(f, p))
	})
}

// answerLater answers buffers.ask from another goroutine when its wait is over. The pool must be locked.
func (e *edge) answerLater(ctx context.Context, began balance.Instant, p *pool, wait *waitingAsk) {
	seq := e.buffers.ask.Seq
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	if len(e.waitingAsks) >= maxWaiting {
		p.leaveQueueLocked(began, began, wait)
		r := &balance.Refusal{Reason: balance.Saturated, Detail: fmt.Sprintf("%d asks of edge %s wait already, the most that may", maxWaiting, e.id)}
		p.countAnswerLocked(began, wait.asked, r, 0)
		e.appendRefused(seq, r)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	e.waitingAsks[seq] = cancel
	stands := func(at balance.Standing) {
		e.send((&wire.Queued{Seq: seq, Position: uint32(at.Position), Wait: at.Wait}).Append(nil))
	}
	req := own(&e.buffers.ask.Request, e.id)
	if wait.result != nil && !req.Follow {
		stands(wait.standing) // at once, so that the answer follows it
	}
	if req.Follow {
		req.Stands = stands
	}
	e.waiters.Go(func() {
		defer cancel(nil)
		grant, waited, err := e.master.awaitGrant(ctx, p, began, req, wait)
		e.finishLate(ctx, &wire.Granted{Seq: seq, Grant: grant, Queue: waited}, p, err)
	})
}

// finishLate answers an ask that had to wait. It runs on its own goroutine.
func (e *edge) finishLate(ctx context.Context, g *wire.Granted, p *pool, err error) {
	seq, grant := g.Seq, g.Grant
	e.waitMu.Lock()
	delete(e.waitingAsks, seq)
	withdrawn := ctx.Err() != nil
	if err == nil && !withdrawn {
		e.lateGrants.add(seq, p, grant.Lease)
	}
	e.waitMu.Unlock()
	now := clock.Now()
	if err == nil && withdrawn {
		p.mu.Lock()
		p.endByMasterLocked(now, grant.Lease, balance.Outcome{Result: balance.Canceled})
		p.unlock()
		err = context.Cause(ctx)
	}
	if r := refusal(err); r != nil {
		e.send((&wire.Refused{Seq: seq, Refusal: *r}).Append(nil))
	} else if err == nil {
		e.send(g.Append(nil, now))
	}
}

// errWithdrawn answers an ask that its edge has withdrawn: each ask gets an answer.
var errWithdrawn = &balance.Refusal{Reason: balance.Shed, Detail: "withdrawn by the edge"}

func (e *edge) onCancel(now balance.Instant, payload []byte) error {
	var c wire.Cancel
	if err := c.Decode(payload); err != nil {
		return err
	}
	e.waitMu.Lock()
	cancel := e.waitingAsks[c.Seq]
	p, lease := e.lateGrants.take(c.Seq)
	e.waitMu.Unlock()
	if p == nil {
		p, lease = e.recentGrants.take(c.Seq)
	}
	if cancel != nil {
		cancel(errWithdrawn)
		return nil
	}
	if p == nil {
		return nil // answered long ago
	}
	if p != e.lockedPool {
		e.unlockPool()
		p.mu.Lock()
		e.lockedPool = p
	}
	p.endByEdgeLocked(now, e.id, lease, balance.Outcome{Result: balance.Canceled}, fromEdge)
	return nil
}

// cancelWaiting ends the asks that wait, because the edge is gone.
func (e *edge) cancelWaiting(why error) {
	e.waitMu.Lock()
	defer e.waitMu.Unlock()
	for _, cancel := range e.waitingAsks {
		cancel(why)
	}
}

// grantRing remembers the last grants, which may still be cancelled.
type grantRing struct {
	ring []recentGrant
	next int
}

type recentGrant struct {
	seq   uint64
	pool  *pool
	lease balance.LeaseID
}

const maxRecent = 1024

func (r *grantRing) add(seq uint64, p *pool, lease balance.LeaseID) {
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, recentGrant{seq, p, lease})
		return
	}
	r.ring[r.next] = recentGrant{seq, p, lease}
	r.next = (r.next + 1) % maxRecent
}

func (r *grantRing) take(seq uint64) (*pool, balance.LeaseID) {
	for i := range r.ring {
		if g := r.ring[i]; g.seq == seq && g.pool != nil {
			r.ring[i] = recentGrant{}
			return g.pool, g.lease
		}
	}
	return nil, 0
}
