package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// An agent whose pool does not exist keeps its connection, and registers again when the pool is opened. So it
// need not reconnect again and again, and is back at once.

// parkAgent has an agent wait for its pool. It returns false if the pool exists by now.
func (m *Master) parkAgent(a *agent, name string) bool {
	m.peers.setUnplaced(a, name)
	if m.openPool(name) != nil { // opened before recallAgents could know of a
		m.peers.unsetUnplaced(a)
		return false
	}
	detail := fmt.Sprintf("no pool %q here: name it in the master's file", name)
	a.out = (&wire.Unplaced{Detail: detail}).Append(a.out)
	if !a.awaitsPool {
		a.log.Warn("agent waits for its pool", "pool", name)
	}
	a.awaitsPool = true
	return true
}

// recallAgents has agents register again whose pool may exist by now; an empty name stands for any pool.
func (m *Master) recallAgents(name string) {
	again := (&wire.Unplaced{}).Append(nil)
	for _, a := range m.peers.takeUnplaced(func(pool string) bool {
		return (name == "" || pool == name) && m.mayOpenLocked(pool)
	}) {
		a.send(again)
	}
}

// mayOpenLocked reports whether a registration for the pool might be accepted. poolsMu must be held.
func (m *Master) mayOpenLocked(pool string) bool {
	p := m.poolNamed(pool)
	return p != nil && !p.isClosing() || p == nil && m.openPools
}

func (p *peers) setUnplaced(a *agent, pool string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unplaced[a] = pool
}

func (p *peers) unsetUnplaced(a *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unplaced, a)
}

// takeUnplaced removes and returns the agents that wait for pools for which isHere is true.
func (p *peers) takeUnplaced(isHere func(pool string) bool) (all []*agent) {
	p.mu.Lock()
	pools := make(map[string]bool)
	for _, pool := range p.unplaced {
		pools[pool] = false
	}
	p.mu.Unlock()
	for pool := range pools {
		pools[pool] = isHere(pool) // it locks the pool
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, pool := range p.unplaced {
		if pools[pool] {
			all = append(all, a)
			delete(p.unplaced, a)
		}
	}
	return all
}
