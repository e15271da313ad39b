package master

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// lead is what a pool knows about its leader. Without an election this master leads every pool.
type lead struct {
	elected bool   // set once: there is an election
	fence   uint64 // of our lead; zero: we do not lead
	leader  string // address of the other master that leads; empty: unknown
	id      string // its id; empty: unknown
	changes uint64 // of the leader
	seen    uint64 // the largest fence that was ours or that edges and agents have reported; zero: none
	refused uint64 // the fence for which they refuse our lead; zero: they do not
}

// Edges returns how many edges are connected.
func (m *Master) Edges() int { return int(m.peers.counts[roleEdge].Load()) }

// Seen returns the largest fence of a pool that was this master's or that edges and agents have reported;
// zero: none.
func (m *Master) Seen(pool string) uint64 {
	p := m.poolNamed(pool)
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lead.seen
}

// Refused records that edges and agents refuse this master's lead of a pool, since they have seen a larger
// fence; zero: they do not.
func (m *Master) Refused(pool string, by uint64) {
	if p := m.poolNamed(pool); p != nil {
		p.mu.Lock()
		p.lead.refused = by
		p.mu.Unlock()
	}
}

// refusedPools returns the pools whose lead edges and agents refuse.
func (m *Master) refusedPools() (names []string) {
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		refused := p.lead.refused
		p.mu.Unlock()
		if refused != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// longestRaise bounds how long the election's store may take to raise the generation.
const longestRaise = 10 * time.Second

// postRaise raises the generation of fences.
func (m *Master) postRaise(w http.ResponseWriter, r *http.Request) *document {
	raise := m.raise.Load()
	if raise == nil {
		return newProblem(http.StatusConflict, noElection, "this master stands for no election: its file has no master.election")
	}
	ctx, cancel := context.WithTimeout(r.Context(), longestRaise)
	defer cancel()
	if err := (*raise)(ctx); err != nil {
		return newProblem(http.StatusServiceUnavailable, noStore, err.Error())
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// RaiseBy sets the function that raises the generation of fences; nil: there is no election.
func (m *Master) RaiseBy(raise func(context.Context) error) { m.raise.Store(&raise) }

// sawFence handles a Fence of a peer that may name one pool only; empty: any. A fence that no election can
// have issued is ignored.
func (m *Master) sawFence(payload []byte, of string) error {
	var f wire.Fence
	if err := f.Decode(payload); err != nil {
		return err
	}
	if p := m.poolNamed(f.Pool); p != nil && (of == "" || of == p.name) && f.Seen>>generationAt <= maxGenerations {
		p.mu.Lock()
		p.lead.seen = max(p.lead.seen, f.Seen)
		p.mu.Unlock()
	}
	return nil
}

// A fence's upper bits are a generation, see package elect.
const (
	generationAt   = 44
	maxGenerations = 1 << 16
)

// PoolNames returns the pools that the master could lead.
func (m *Master) PoolNames() (names []string) {
	for _, p := range m.pools.Load().list {
		if !p.isClosing() {
			names = append(names, p.name)
		}
	}
	return names
}

// PoolGroup returns the same name for pools that share servers, which one master shall lead.
func (m *Master) PoolGroup(pool string) string {
	p := m.poolNamed(pool)
	if p == nil {
		return pool
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.sharersLocked() {
		pool = min(pool, q.name)
	}
	return pool
}

// Ready reports whether this master knows any server of the pool.
func (m *Master) Ready(pool string) bool {
	p := m.poolNamed(pool)
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.unlock()
	for range p.core.Members {
		return true
	}
	return false
}

// Extend sets until when leases may be granted in the pools that we lead.
func (m *Master) Extend(until time.Time) {
	now := clock.Now() // first: a pause from here on makes the time shorter, not longer
	m.leaderUntil.Store(int64(now.Add(time.Until(until))))
}

// Lead makes this master the leader of a pool, with a fence larger than that of any leader before, until
// Follow or the time that Extend set.
func (m *Master) Lead(pool string, fence uint64) { m.setLead(pool, lead{fence: fence}) }

// Follow records that another master leads a pool, and its id and address; empty: unknown.
func (m *Master) Follow(pool, id, address string) {
	m.setLead(pool, lead{id: id, leader: address})
}

func (m *Master) setLead(name string, to lead) {
	p := m.poolNamed(name)
	if p == nil {
		return
	}
	p.mu.Lock()
	p.noteLeadLocked(&to)
	ended := p.setLeaderLocked(clock.Now(), to)
	p.unlock()
	if ended > 0 {
		m.log.Info("leases handed over with the pool", "pool", name, "leases", ended)
	}
	f := m.peers.feedOf(name)
	if f == nil {
		return
	}
	for _, e := range m.peers.watchers(f, p) {
		p.mu.Lock()
		e.send(p.leadFrameLocked()) // under the lock, to keep the order
		p.mu.Unlock()
	}
}

// noteLeadLocked notes that another master leads the pool from now on, or this one.
func (p *pool) noteLeadLocked(to *lead) {
	switch {
	case to.fence != 0 && to.fence != p.lead.fence:
		p.noteLocked(event{Kind: eventPoolLed})
	case to.fence == 0 && (p.lead.fence != 0 || to.leader != p.lead.leader):
		p.noteLocked(event{Kind: eventPoolFollowed, Peer: cmp.Or(to.id, to.leader)})
	}
}

// setLeaderLocked records who leads. It returns how many leases have moved to another master's ledger.
func (p *pool) setLeaderLocked(now balance.Instant, to lead) (ended int) {
	led := p.lead.fence != 0
	if !led && to.fence != 0 {
		p.core.Await(now, now.Add(p.cfg.Grace))
	}
	p.lead.fence, p.lead.leader, p.lead.id = to.fence, to.leader, to.id
	p.lead.seen = max(p.lead.seen, to.fence)
	p.lead.changes++
	if led && to.fence == 0 {
		ended = p.core.Resign(now)
		p.endAllWaitsLocked(now, p.notLeaderRefusalLocked())
	}
	p.markChangedLocked()
	return ended
}

// isLeadingLocked reports whether this master may grant from the pool.
func (p *pool) isLeadingLocked(now balance.Instant) bool {
	return !p.lead.elected || p.lead.fence != 0 && now < balance.Instant(p.leaderUntil.Load())
}

func (p *pool) notLeaderRefusalLocked() *balance.Refusal {
	return &balance.Refusal{Reason: balance.NotLeader, Detail: fmt.Sprintf("pool %s is led by another master", p.name), Leader: p.lead.leader, LeaderID: p.lead.id}
}

func (p *pool) leadFrameLocked() []byte {
	return (&wire.Lead{Pool: p.name, Fence: p.lead.fence, Leader: p.lead.leader, Master: p.lead.id}).Append(nil)
}
