package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// An agent whose pool is not here keeps its connection, and registers again over it when the pool
// has come. So agents need not ask again and again, and are back at once.

// postpone has an agent wait for its pool; false: the pool is here by now.
func (m *Master) postpone(a *agent, name string) bool {
	m.peers.setUnplaced(a, name)
	if m.openPool(name) != nil { // it came before recall could know of a
		m.peers.unsetUnplaced(a)
		return false
	}
	detail := fmt.Sprintf("no pool %q here: name it in the master's file", name)
	a.out = (&wire.Unplaced{Detail: detail}).Append(a.out)
	if !a.waits {
		a.log.Warn("agent waits for its pool", "pool", name)
	}
	a.waits = true
	return true
}

// recall has agents register again whose pool may be here by now; an empty name stands for any pool.
func (m *Master) recall(name string) {
	again := (&wire.Unplaced{}).Append(nil)
	for _, a := range m.peers.takeUnplaced(func(pool string) bool {
		return (name == "" || pool == name) && m.mayHave(pool)
	}) {
		a.send(again)
	}
}

// mayHave reports whether a registration for the pool might be taken. It wants m.change held.
func (m *Master) mayHave(pool string) bool {
	p := m.pool(pool)
	return p != nil && !p.isClosing() || p == nil && m.open
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

// takeUnplaced removes and returns the agents that wait for pools of which isHere is true.
func (p *peers) takeUnplaced(isHere func(pool string) bool) (all []*agent) {
	p.mu.Lock()
	pools := make(map[string]bool)
	for _, pool := range p.unplaced {
		pools[pool] = false
	}
	p.mu.Unlock()
	for pool := range pools {
		pools[pool] = isHere(pool) // which locks the pool
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
