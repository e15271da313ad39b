package master

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// peers is the set of connections. Its lock is never held together with a pool's.
type peers struct {
	counts   [roles]atomic.Int64
	bounded  [roles][allBounds]atomic.Uint64 // peers that have exceeded a bound
	accounts [roles]account
	bounds   Bounds // set once, defaults are filled in

	mu          sync.Mutex // guards the following
	edges       map[balance.EdgeID]*edge
	agents      map[agentKey]*agent
	watch       map[string]*feed  // by pool; each has at least one edge
	unplaced    map[*agent]string // the pools that they wait for
	rivals      map[balance.EdgeID]*rivalry
	serverAddrs map[netip.AddrPort]map[*agent]struct{} // of agents' servers, by inside.Canonical

	newcomers []newcomer // oldest first; some have sent a hello since
}

type role uint8

const (
	roleNew role = iota // has not sent a hello yet
	roleEdge
	roleAgent
	roles
)

var roleNames = [roles]string{roleNew: "new", roleEdge: "edge", roleAgent: "agent"}

type agentKey struct {
	pool   string
	server balance.ServerID
}

func (p *peers) init(most Bounds) {
	p.bounds = most.withDefaults()
	p.openAccounts()
	p.edges = make(map[balance.EdgeID]*edge)
	p.agents = make(map[agentKey]*agent)
	p.watch = make(map[string]*feed)
	p.unplaced = make(map[*agent]string)
	p.rivals = make(map[balance.EdgeID]*rivalry)
	p.serverAddrs = make(map[netip.AddrPort]map[*agent]struct{})
}

func (p *peers) countIn(r role)  { p.counts[r].Add(1) }
func (p *peers) countOut(r role) { p.counts[r].Add(-1) }

func (p *peers) removeEdge(e *edge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.edges[e.id] == e {
		delete(p.edges, e.id)
	}
	for pool, f := range p.watch {
		if delete(f.edges, e); len(f.edges) == 0 {
			delete(p.watch, pool)
		}
	}
}

// addWatch has e sent a pool's changes and returns the pool's feed; nil: it watches too many pools.
func (p *peers) addWatch(pool string, e *edge) *feed {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.watch[pool]
	if f != nil {
		if _, already := f.edges[e]; already {
			return f
		}
	}
	if e.watchCount == p.bounds.Watches {
		return nil
	}
	if f == nil {
		f = &feed{pool: pool, peers: p, edges: make(map[*edge]struct{})}
		p.watch[pool] = f
	}
	f.edges[e] = struct{}{}
	e.watchCount++
	return f
}

// feedOf returns a pool's feed; nil: no edge watches it.
func (p *peers) feedOf(pool string) *feed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watch[pool]
}

// watchers returns the edges of a feed that are allowed to use the pool. The pool may be opened later than the
// feed: nil.
func (p *peers) watchers(f *feed, of *pool) []*edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*edge, 0, len(f.edges))
	for e := range f.edges {
		if of == nil || of.access.Load().allowsEdge(of.name, e.name, e.identity) {
			all = append(all, e)
		}
	}
	return all
}

// connected returns all connected edges, and all agents that have registered.
func (p *peers) connected() (edges []*edge, agents []*agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.edges)), slices.Collect(maps.Values(p.agents))
}

// addAgent registers a for its server unless another agent is registered for it, and returns the registered
// one.
func (p *peers) addAgent(key agentKey, a *agent) (holder *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if holder := p.agents[key]; holder != nil && holder != a {
		return holder
	}
	p.agents[key] = a
	return a
}

// removeAgent removes a. It returns false if another agent had replaced it.
func (p *peers) removeAgent(key agentKey, a *agent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agents[key] != a {
		return false
	}
	delete(p.agents, key)
	return true
}

func (p *peers) agentOf(pool string, server balance.ServerID) *agent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agents[agentKey{pool, server}]
}

// dropAgents disconnects a pool's agents.
func (p *peers) dropAgents(pool string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, a := range p.agents {
		if key.pool == pool {
			a.drop(why)
		}
	}
}
