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
	watch  map[string]map[*edge]struct{} // by pool
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
	p.watch = make(map[string]map[*edge]struct{})
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
	for pool, edges := range p.watch {
		if delete(edges, e); len(edges) == 0 {
			delete(p.watch, pool)
		}
	}
}

// mostWatches bounds the pools that one edge may watch.
const mostWatches = 1024

// addWatch has e told of a pool's changes; false: it watches too many.
func (p *peers) addWatch(pool string, e *edge) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.watches == mostWatches {
		return false
	}
	edges := p.watch[pool]
	if edges == nil {
		edges = make(map[*edge]struct{})
		p.watch[pool] = edges
	}
	if _, already := edges[e]; !already {
		edges[e] = struct{}{}
		e.watches++
	}
	return true
}

func (p *peers) watched(pool string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.watch[pool]) > 0
}

func (p *peers) watchers(pool string) []*edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*edge, 0, len(p.watch[pool]))
	for e := range p.watch[pool] {
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
