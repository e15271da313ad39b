package limits

import (
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// BodyMemory bounds the memory of request bodies that are read before a server is asked for, over all loops of
// an edge, and wakes those that wait for memory. It is safe for concurrent use.
type BodyMemory struct {
	mu     sync.Mutex
	budget Budget       // guarded by mu
	stalls Stalls       // guarded by mu
	Waits  atomic.Int64 // bodies that wait, for the metric
	Total  atomic.Int64 // bodies that have waited

	waiting map[MemoryWaiter]struct{} // guarded by mu: whose bodies wait
}

// MemoryWaiter is a loop whose bodies wait for memory.
type MemoryWaiter interface {
	// MemoryFreed is called when memory is available again, without locks, on any goroutine.
	MemoryFreed()
}

// NewBodyMemory returns a memory of so many bytes.
func NewBodyMemory(limit int64) *BodyMemory { return &BodyMemory{budget: Budget{Limit: limit}} }

// Take takes n bytes for a client. It returns false if they are not available; then w, if not nil, is called
// once memory is returned.
func (m *BodyMemory) Take(c balance.ClientPrefix, n int64, w MemoryWaiter) bool {
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

// TakeRest takes all n bytes that a body in progress may still need. If they are not available but may be
// later, w is called once memory is returned; ever reports that they may be.
func (m *BodyMemory) TakeRest(c balance.ClientPrefix, n int64, w MemoryWaiter) (taken, ever bool) {
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

// EndRest ends the body for which TakeRest took n bytes, of which unused are returned.
func (m *BodyMemory) EndRest(c balance.ClientPrefix, n, unused int64) {
	m.mu.Lock()
	m.budget.EndRest(c, n)
	m.mu.Unlock()
	m.Give(c, unused)
}

// Await reports whether n bytes are unavailable to anyone now; then w is called once memory is returned.
func (m *BodyMemory) Await(w MemoryWaiter, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget.Used()+n <= m.budget.Limit {
		return false
	}
	m.waiterLocked(w)
	return true
}

// waiterLocked adds w to those that are called.
func (m *BodyMemory) waiterLocked(w MemoryWaiter) {
	if m.waiting == nil {
		m.waiting = make(map[MemoryWaiter]struct{})
	}
	m.waiting[w] = struct{}{}
}

// Give returns n bytes of a client.
func (m *BodyMemory) Give(c balance.ClientPrefix, n int64) {
	m.mu.Lock()
	m.budget.Give(c, n)
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for w := range waiting {
		w.MemoryFreed()
	}
}

// Scarce reports whether nothing should be kept that is useful only after a failure.
func (m *BodyMemory) Scarce() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.budget.Scarce()
}

// Used returns how many bytes are taken.
func (m *BodyMemory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.budget.Used()
}

// Stall reports whether a request of the client may ask for a server although its body has stalled. If so it
// is counted until Unstall.
func (m *BodyMemory) Stall(c balance.ClientPrefix) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stalls.Enter(c)
}

// Unstall ends what Stall has begun.
func (m *BodyMemory) Unstall(c balance.ClientPrefix) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalls.Leave(c)
}
