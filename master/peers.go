package master

import (
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// peers is who is connected. Its lock is never held together with a pool's.
type peers struct {
	counts [roles]atomic.Int64

	mu     sync.Mutex // guards the following
	edges  map[balance.EdgeID]*edge
	agents map[agentKey]*agent
	watch  map[string]*feed // by pool; one without edges is none
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

func (p *peers) init() {
	p.edges = make(map[balance.EdgeID]*edge)
	p.agents = make(map[agentKey]*agent)
	p.watch = make(map[string]*feed)
}

func (p *peers) enter(r role) { p.counts[r].Add(1) }
func (p *peers) leave(r role) { p.counts[r].Add(-1) }

// addEdge enters e and returns the connection that had its id until now, if any.
func (p *peers) addEdge(e *edge) (before *edge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.edges[e.id]
	p.edges[e.id] = e
	return before
}

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

// mostWatches bounds the pools that one edge may watch.
const mostWatches = 1024

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
	if e.watches == mostWatches {
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

func (p *peers) watchers(f *feed) []*edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*edge, 0, len(f.edges))
	for e := range f.edges {
		all = append(all, e)
	}
	return all
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
