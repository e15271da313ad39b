package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// judge parts from peers that a reload does not allow any more. before are the rules that pools had.
func (m *Master) judge(before map[string]*access) {
	edges, agents := m.peers.all()
	for _, p := range m.pools.Load().list {
		old, now := before[p.name], p.access.Load()
		for _, e := range edges {
			if old != nil && old.edge(p.name, e.name, e.who) != now.edge(p.name, e.name, e.who) {
				e.drop(&wire.Fail{Code: wire.GoingAway, Detail: fmt.Sprintf("who may speak in pool %s has changed: connect anew", p.name)})
			}
		}
	}
	for _, a := range agents {
		if err := a.allowed(); err != nil {
			m.refusals.Add(err)
			a.drop(err)
		}
	}
}

// allowed reports why an agent that has registered may not stay; nil: it may. Any goroutine may
// call it.
func (a *agent) allowed() error {
	a.mu.Lock()
	pool, address := a.registered, a.address
	a.mu.Unlock()
	if pool == nil {
		return nil // it has the place, and is about to register
	}
	return a.admit(pool, address)
}

// rules returns what pools say of who may speak in them, by name.
func (m *Master) rules() map[string]*access {
	all := make(map[string]*access)
	for _, p := range m.pools.Load().list {
		all[p.name] = p.access.Load()
	}
	return all
}
