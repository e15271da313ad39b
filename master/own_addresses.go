package master

import (
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Edges and agents send in their hello where they serve operators. While they are connected no agent may
// register a server there, and one that is registered has to leave. A server in the file stays, since a peer
// must not be able to remove it; an error is logged.

// learnAddresses stores a peer's own addresses. forget has to be called when its connection has ended.
func (m *Master) learnAddresses(c *conn, hello *wire.Hello) (forget func()) {
	forget, fresh := m.inside.Learn(hello.Inside, c.origin)
	if len(fresh) == 0 {
		return forget
	}
	for _, a := range m.peers.agentsAt(fresh) {
		if err := a.recheckAccess(); err != nil {
			m.refusals.Add(err)
			a.drop(err)
		}
	}
	places := *m.fileServers.Load()
	for _, at := range fresh {
		if who, there := places[at]; there {
			m.log.Error("the file says that a server is where one of our own components serves operators: clients can reach that", "pool", who.pool, "server", who.server, "address", at, "component", hello.ID)
		}
	}
	return forget
}

// noteFileServers stores where the file's servers are, and logs those at a component's own address.
func (m *Master) noteFileServers(pools []PoolConfig) {
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
	m.fileServers.Store(&places)
}

// noteServerAddr stores where an agent's server is, before that is judged: an address that becomes known
// meanwhile is then seen by either side.
func (p *peers) noteServerAddr(a *agent, address string) {
	_, hostPort := balance.SplitAddress(address)
	at, ok := inside.Canonical(hostPort)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetServerAddrLocked(a)
	if !ok {
		return
	}
	if p.serverAddrs[at] == nil {
		p.serverAddrs[at] = make(map[*agent]struct{})
	}
	p.serverAddrs[at][a], a.serverAddr = struct{}{}, at
}

// forgetServerAddr forgets it.
func (p *peers) forgetServerAddr(a *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetServerAddrLocked(a)
}

func (p *peers) forgetServerAddrLocked(a *agent) {
	if delete(p.serverAddrs[a.serverAddr], a); len(p.serverAddrs[a.serverAddr]) == 0 {
		delete(p.serverAddrs, a.serverAddr)
	}
	a.serverAddr = netip.AddrPort{}
}

// agentsAt returns the agents whose servers are at one of the addresses.
func (p *peers) agentsAt(addresses []netip.AddrPort) (all []*agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range addresses {
		for a := range p.serverAddrs[at] {
			all = append(all, a)
		}
	}
	return all
}
