package master

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Member is a server as a master tells of it to the program that takes over from it.
type Member struct {
	Pool    string
	Server  balance.ServerSpec
	Fixed   bool // the file names it
	Drained bool // by an operator
}

// Members returns all servers that have not left. Leases are not told of: whoever was
// granted them here gives them back here.
func (m *Master) Members() (all []Member) {
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		for _, v := range p.core.Views(now) {
			if _, drained := p.drained[v.Spec.ID]; v.State != balance.Gone && !p.closing {
				all = append(all, Member{Pool: p.name, Server: v.Spec, Fixed: v.Fixed, Drained: drained})
			}
		}
		p.mu.Unlock()
	}
	return all
}

// Adopt takes over what the master before knew, so that nothing waits for agents to come
// back: the servers that they told of, and who was drained. Servers that only the file
// named then are for the file of now to name.
func (m *Master) Adopt(all []Member) error {
	var first error
	for _, member := range all {
		if err := m.adopt(&member); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (m *Master) adopt(member *Member) error {
	p := m.openPool(member.Pool)
	if p == nil {
		return nil // the file of now does not name it
	}
	p.mu.Lock()
	defer p.unlock()
	now := clock.Now()
	if !member.Fixed {
		if err := p.put(now, member.Server, false); err != nil {
			return err
		}
	}
	if member.Drained {
		_ = p.drain(now, member.Server.ID, true) // if the file still names it
	}
	return nil
}
