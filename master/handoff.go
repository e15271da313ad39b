package master

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Member is a server as a master tells of it to the program that takes over from it.
type Member struct {
	Pool    string
	Server  balance.ServerSpec
	Fixed   bool          // the file names it
	Drained balance.Drain // what an operator said last; zero: nothing
}

// Members returns all servers that have not left. Leases are not told of: whoever was
// granted them here gives them back here.
func (m *Master) Members() (all []Member) {
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		for _, v := range p.core.Views(now) {
			if v.State != balance.Gone && !p.closing {
				all = append(all, Member{Pool: p.name, Server: v.Spec, Fixed: v.Fixed, Drained: p.drains[v.Spec.ID]})
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
	now := clock.Now()
	if !member.Fixed {
		p.mu.Lock()
		err := p.put(now, member.Server, false)
		p.unlock()
		if err != nil {
			return err
		}
	}
	if member.Drained.At != 0 {
		return m.adoptDrain(now, said{member.Pool, member.Server.ID, member.Drained})
	}
	return nil
}
