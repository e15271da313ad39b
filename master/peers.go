package master

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// peers is who is connected. Its lock is never held together with a pool's.
type peers struct {
	counts   [roles]atomic.Int64
	bounded  [roles][allBounds]atomic.Uint64 // that have met a bound
	accounts [roles]account
	most     Bounds // set once, with defaults filled

	mu       sync.Mutex // guards the following
	edges    map[balance.EdgeID]*edge
	agents   map[agentKey]*agent
	watch    map[string]*feed  // by pool; one without edges is none
	unplaced map[*agent]string // the pools for which they wait
	rivals   map[balance.EdgeID]*rivalry
	places   map[netip.AddrPort]map[*agent]struct{} // where agents' servers are, by inside.Canonical

	newcomers []newcomer // oldest first; some have said hello since
}

type role uint8

const (
	roleNew role = iota // has not said hello yet
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
	p.most = most.withDefaults()
	p.openAccounts()
	p.edges = make(map[balance.EdgeID]*edge)
	p.agents = make(map[agentKey]*agent)
	p.watch = make(map[string]*feed)
	p.unplaced = make(map[*agent]string)
	p.rivals = make(map[balance.EdgeID]*rivalry)
	p.places = make(map[netip.AddrPort]map[*agent]struct{})
}

func (p *peers) enter(r role) { p.counts[r].Add(1) }
func (p *peers) leave(r role) { p.counts[r].Add(-1) }

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

// addWatch has e told of a pool's changes, and returns by what; nil: it watches too many.
func (p *peers) addWatch(pool string, e *edge) *feed {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.watch[pool]
	if f != nil {
		if _, already := f.edges[e]; already {
			return f
		}
	}
	if e.watches == p.most.Watches {
		return nil
	}
	if f == nil {
		f = &feed{pool: pool, edges: make(map[*edge]struct{})}
		p.watch[pool] = f
	}
	f.edges[e] = struct{}{}
	e.watches++
	return f
}

// feed returns that of a pool; nil: nobody watches it.
func (p *peers) feed(pool string) *feed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watch[pool]
}

// watchers returns the edges that are told of a pool; it may have come after they asked for that. A nil
// pool is not there yet.
func (p *peers) watchers(f *feed, of *pool) []*edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*edge, 0, len(f.edges))
	for e := range f.edges {
		if of == nil || of.access.Load().edge(of.name, e.name, e.who) {
			all = append(all, e)
		}
	}
	return all
}

// all returns every edge and agent that is connected; agents, once they have registered.
func (p *peers) all() (edges []*edge, agents []*agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.edges)), slices.Collect(maps.Values(p.agents))
}

// addAgent enters a for its server unless another has that place, and returns who has it.
func (p *peers) addAgent(key agentKey, a *agent) (holder *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if holder := p.agents[key]; holder != nil && holder != a {
		return holder
	}
	p.agents[key] = a
	return a
}

// removeAgent gives a's place up; false: another had taken it.
func (p *peers) removeAgent(key agentKey, a *agent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agents[key] != a {
		return false
	}
	delete(p.agents, key)
	return true
}

func (p *peers) agent(pool string, server balance.ServerID) *agent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agents[agentKey{pool, server}]
}

// dropAgents ends the connections of a pool's agents.
func (p *peers) dropAgents(pool string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, a := range p.agents {
		if key.pool == pool {
			a.drop(why)
		}
	}
}
