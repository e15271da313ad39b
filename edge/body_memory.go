package edge

import (
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// bodyMemory bounds the memory of request bodies that are read before a server is asked for, over all
// loops of an edge, and wakes those that wait for some of it.
type bodyMemory struct {
	mu     sync.Mutex
	budget limits.Budget // guarded by mu
	stalls limits.Stalls // guarded by mu
	waits  atomic.Int64  // bodies that wait unread, for the metric
	total  atomic.Int64  // bodies that have had to wait

	waiting map[bodyWaiter]struct{} // guarded by mu: who has bodies that wait
}

// bodyWaiter is a loop whose bodies wait for memory.
type bodyWaiter interface {
	// memoryFreed says that some may be had again. It is called without locks, from any goroutine.
	memoryFreed()
}

// take takes n bytes for a client; false: they are not to be had, and if w is not nil it is told once
// some are given back.
func (m *bodyMemory) take(c balance.ClientPrefix, n int64, w bodyWaiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.Take(c, n) {
		return true
	}
	if w != nil {
		m.waiterLocked(w)
	}
	return false
}

// takeRest takes all n bytes that a body which has begun may still need; false: they are not to be had,
// and if they can be at another time, w is told once some are given back.
func (m *bodyMemory) takeRest(c balance.ClientPrefix, n int64, w bodyWaiter) (taken, ever bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.TakeRest(c, n) {
		return true, true
	}
	if ever = m.budget.EverRest(n); ever {
		m.waiterLocked(w)
	}
	return false, ever
}

// endRest says that a body has been read for which takeRest took n bytes, of which unused are given back.
func (m *bodyMemory) endRest(c balance.ClientPrefix, n, unused int64) {
	m.mu.Lock()
	m.budget.EndRest(c, n)
	m.mu.Unlock()
	m.give(c, unused)
}

// await reports whether n bytes are not to be had by anybody now; then w is told once some are given back.
func (m *bodyMemory) await(w bodyWaiter, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.Used()+n <= m.budget.Limit {
		return false
	}
	m.waiterLocked(w)
	return true
}

// waiterLocked says that w is to be told.
func (m *bodyMemory) waiterLocked(w bodyWaiter) {
	if m.waiting == nil {
		m.waiting = make(map[bodyWaiter]struct{})
	}
	m.waiting[w] = struct{}{}
}

// give gives n bytes of a client back.
func (m *bodyMemory) give(c balance.ClientPrefix, n int64) {
	m.mu.Lock()
	m.budget.Give(c, n)
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for w := range waiting {
		w.memoryFreed()
	}
}

// scarce reports whether nothing should be kept that is only useful if something fails.
func (m *bodyMemory) scarce() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.budget.Scarce()
}

// used returns how many bytes are taken.
func (m *bodyMemory) used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.budget.Used()
}

// stall reports whether a request of the client may ask for a server although its body has stalled.
// One that may is counted until unstall.
func (m *bodyMemory) stall(c balance.ClientPrefix) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stalls.Enter(c)
}

func (m *bodyMemory) unstall(c balance.ClientPrefix) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalls.Leave(c)
}
