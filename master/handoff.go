package master

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// HandoffServer is a server as a master passes it to the program that replaces it.
type HandoffServer struct {
	Pool      string
	Server    balance.ServerSpec
	Fixed     bool               // the file names it
	Drained   balance.Override   // the last drain; zero: none
	Overrides []balance.Override // the last of each other setting
	Slots     float64            // as it is believed, and so is Service
	Service   float64
	Basis     balance.Basis
}

// HandoffServers returns all servers that have not left. Leases are not passed: edges return to this master
// those that it has granted.
func (m *Master) HandoffServers() (all []HandoffServer) {
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		for _, v := range p.core.Views(now) {
			if v.State != balance.Gone && !p.closing {
				drained, others := p.overridesOfLocked(v.Spec.ID)
				all = append(all, HandoffServer{Pool: p.name, Server: v.Spec, Fixed: v.Fixed, Drained: drained, Overrides: others, Slots: v.Slots, Service: v.Service, Basis: v.Basis})
			}
		}
		p.mu.Unlock()
	}
	return all
}

// Restore takes over the servers of the master before, so that no request waits for agents to reconnect: those
// that agents registered, all drains and other overrides, and what was learnt. Servers that the old file named are left to the new file.
func (m *Master) Restore(all []HandoffServer) error {
	var first error
	for _, member := range all {
		if err := m.restoreServer(&member); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (m *Master) restoreServer(member *HandoffServer) error {
	p := m.openPool(member.Pool)
	if p == nil {
		return nil // the new file does not name it
	}
	now := clock.Now()
	if !member.Fixed {
		m.shareServers(p, member.Server.Address)
		p.mu.Lock()
		err := p.putServerLocked(now, member.Server, false)
		p.unlock()
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.core.Recall(now, []balance.SnapshotServer{{ID: member.Server.ID, Slots: member.Slots, Service: member.Service, Basis: member.Basis}})
	p.unlock()
	for _, o := range append(member.Overrides, member.Drained) {
		if o.At == 0 {
			continue
		}
		if err := m.restoreOverride(now, overrideRecord{member.Pool, member.Server.ID, o}); err != nil {
			return err
		}
	}
	return nil
}

// overridesOfLocked returns what operators said last of a server.
func (p *pool) overridesOfLocked(id balance.ServerID) (drained balance.Override, others []balance.Override) {
	for _, setting := range balance.Settings()[1:] {
		if o, known := p.overrides[overrideKey{id, setting}]; known {
			others = append(others, o)
		}
	}
	return p.overrides[overrideKey{id, balance.Drained}], others
}
