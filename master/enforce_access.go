package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// enforceAccess disconnects peers that a reload no longer allows. before are the rules that the pools had.
func (m *Master) enforceAccess(before map[string]*access) {
	edges, agents := m.peers.connected()
	for _, p := range m.pools.Load().list {
		old, now := before[p.name], p.access.Load()
		for _, e := range edges {
			if old != nil && old.allowsEdge(p.name, e.name, e.identity) != now.allowsEdge(p.name, e.name, e.identity) {
				e.drop(&wire.Fail{Code: wire.GoingAway, Detail: fmt.Sprintf("the access rules of pool %s have changed: reconnect", p.name)})
			}
		}
	}
	for _, a := range agents {
		if err := a.recheckAccess(); err != nil {
			m.refusals.Add(err)
			a.drop(err)
		}
	}
}

// recheckAccess returns why a registered agent may not stay; nil: it may. Any goroutine may call it.
func (a *agent) recheckAccess() error {
	a.mu.Lock()
	pool, address := a.registered, a.address
	a.mu.Unlock()
	if pool == nil {
		return nil // it has not registered yet
	}
	return a.checkAccess(pool, address)
}

// accessRules returns the access rules of all pools, by name.
func (m *Master) accessRules() map[string]*access {
	all := make(map[string]*access)
	for _, p := range m.pools.Load().list {
		all[p.name] = p.access.Load()
	}
	return all
}
