package master

import (
	"fmt"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// lead is what a pool knows of who leads it. One that is not elected is always led.
type lead struct {
	elected bool   // set once
	fence   uint64 // of our lead; zero: we do not lead
	leader  string // the address of the master that does; empty: unknown
	changes uint64 // of all that
}

// PoolNames returns the pools that the master could lead.
func (m *Master) PoolNames() (names []string) {
	for _, p := range m.pools.Load().list {
		if !p.isClosing() {
			names = append(names, p.name)
		}
	}
	return names
}

// Ready tells whether there are servers in the pool that this master knows of.
func (m *Master) Ready(pool string) bool {
	p := m.pool(pool)
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

// Extend says until when, on the monotonic clock, the pools that we lead may be granted from.
func (m *Master) Extend(until time.Time) {
	now := clock.Now() // first: a pause behind it makes the time shorter, not longer
	m.reign.Store(int64(now.Add(time.Until(until))))
}

// Lead makes this master the leader of a pool, with a fencing number that is larger
// than that of any leader before, until Follow or the end of the time that Extend set.
func (m *Master) Lead(pool string, fence uint64) { m.setLead(pool, fence, "") }

// Follow says that this master does not lead a pool, and the address of the one that
// does; empty: unknown.
func (m *Master) Follow(pool, leader string) { m.setLead(pool, 0, leader) }

func (m *Master) setLead(name string, fence uint64, leader string) {
	p := m.pool(name)
	if p == nil {
		return
	}
	p.mu.Lock()
	ended := p.led(clock.Now(), fence, leader)
	p.unlock()
	if ended > 0 {
		m.log.Info("leases handed over with the pool", "pool", name, "leases", ended)
	}
	f := m.peers.feed(name)
	if f == nil {
		return
	}
	for _, e := range m.peers.watchers(f) {
		p.mu.Lock()
		e.send(p.tellLead()) // under the lock, so that what is told last is so
		p.mu.Unlock()
	}
}

// The methods of pool want mu held.

// led takes up who leads. It returns how many leases have gone to another master's ledger.
func (p *pool) led(now balance.Instant, fence uint64, leader string) (ended int) {
	led := p.lead.fence != 0
	p.lead.fence, p.lead.leader = fence, leader
	p.lead.changes++
	if led && fence == 0 {
		ended = p.core.Resign(now)
		p.dismiss(p.notLeader())
	}
	p.touch()
	return ended
}

// leads tells whether this master may grant from the pool.
func (p *pool) leads(now balance.Instant) bool {
	return !p.lead.elected || p.lead.fence != 0 && now < balance.Instant(p.reign.Load())
}

func (p *pool) notLeader() *balance.Refusal {
	return &balance.Refusal{Reason: balance.NotLeader, Detail: fmt.Sprintf("pool %s is led by another master", p.name), Leader: p.lead.leader}
}

func (p *pool) tellLead() []byte {
	return (&wire.Lead{Pool: p.name, Fence: p.lead.fence, Leader: p.lead.leader}).Append(nil)
}
