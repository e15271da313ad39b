package master

import (
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Edges and agents tell in their hello where they serve operators. As long as they are connected no agent's server is
// there: one that is there already has to leave. What the file says of a server stands, since a peer's
// word must not take the file's servers away; the log has it as an error.

// learn takes what a peer tells of its own addresses. forget is called when its connection has ended.
func (m *Master) learn(c *conn, hello *wire.Hello) (forget func()) {
	forget, fresh := m.inside.Learn(hello.Inside, c.from)
	if len(fresh) == 0 {
		return forget
	}
	for _, a := range m.peers.at(fresh) {
		if err := a.allowed(); err != nil {
			m.refusals.Add(err)
			a.drop(err)
		}
	}
	places := *m.places.Load()
	for _, at := range fresh {
		if who, there := places[at]; there {
			m.log.Error("the file says that a server is where one of our own components serves operators: clients can reach that", "pool", who.pool, "server", who.server, "address", at, "component", hello.ID)
		}
	}
	return forget
}

// notePlaces keeps where the file's servers are, and tells of those that are where a component is.
func (m *Master) notePlaces(pools []PoolConfig) {
	places := make(map[netip.AddrPort]agentKey)
	for i := range pools {
		for j := range pools[i].Servers {
			s := &pools[i].Servers[j]
			_, hostPort := balance.SplitAddress(s.Address)
			at, ok := inside.Canonical(hostPort)
			if !ok {
				continue
			}
			places[at] = agentKey{pools[i].Name, s.ID}
			if m.inside.Has(at) {
				m.log.Error("the file says that a server is where one of our own components serves operators: clients can reach that", "pool", pools[i].Name, "server", s.ID, "address", at)
			}
		}
	}
	m.places.Store(&places)
}

// place notes where an agent's server is, before that is judged, so that whatever becomes known of
// the address meanwhile is seen by one side or the other.
func (p *peers) place(a *agent, address string) {
	_, hostPort := balance.SplitAddress(address)
	at, ok := inside.Canonical(hostPort)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.displace(a)
	if !ok {
		return
	}
	if p.places[at] == nil {
		p.places[at] = make(map[*agent]struct{})
	}
	p.places[at][a], a.at = struct{}{}, at
}

// unplace forgets it.
func (p *peers) unplace(a *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.displace(a)
}

// displace wants mu held.
func (p *peers) displace(a *agent) {
	if delete(p.places[a.at], a); len(p.places[a.at]) == 0 {
		delete(p.places, a.at)
	}
	a.at = netip.AddrPort{}
}

// at returns the agents whose servers are at one of the addresses.
func (p *peers) at(addresses []netip.AddrPort) (all []*agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range addresses {
		for a := range p.places[at] {
			all = append(all, a)
		}
	}
	return all
}
