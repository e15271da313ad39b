package edge

import (
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// bodyMemory bounds the memory of request bodies that are read before a server is asked for, over all loops of
// an edge, and wakes those that wait for memory.
type bodyMemory struct {
	mu     sync.Mutex
	budget limits.Budget // guarded by mu
	stalls limits.Stalls // guarded by mu
	waits  atomic.Int64  // bodies that wait, for the metric
	total  atomic.Int64  // bodies that have waited

	waiting map[bodyWaiter]struct{} // guarded by mu: whose bodies wait
}

// bodyWaiter is a loop whose bodies wait for memory.
type bodyWaiter interface {
	// memoryFreed is called when memory is available again, without locks, on any goroutine.
	memoryFreed()
}

// take takes n bytes for a client. It returns false if they are not available; then w, if not nil, is called
// once memory is returned.
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

// takeRest takes all n bytes that a body in progress may still need. If they are not available but may be
// later, w is called once memory is returned; ever reports that they may be.
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

// endRest ends the body for which takeRest took n bytes, of which unused are returned.
func (m *bodyMemory) endRest(c balance.ClientPrefix, n, unused int64) {
	m.mu.Lock()
	m.budget.EndRest(c, n)
	m.mu.Unlock()
	m.give(c, unused)
}

// await reports whether n bytes are unavailable to anyone now; then w is called once memory is returned.
func (m *bodyMemory) await(w bodyWaiter, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.Used()+n <= m.budget.Limit {
		return false
	}
	m.waiterLocked(w)
	return true
}

// waiterLocked adds w to those that are called.
func (m *bodyMemory) waiterLocked(w bodyWaiter) {
	if m.waiting == nil {
		m.waiting = make(map[bodyWaiter]struct{})
	}
	m.waiting[w] = struct{}{}
}

// give returns n bytes of a client.
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

// scarce reports whether nothing should be kept that is useful only after a failure.
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

// stall reports whether a request of the client may ask for a server although its body has stalled. If so it
// is counted until unstall.
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
