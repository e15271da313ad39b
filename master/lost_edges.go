package master

import (
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// lostEdges are edges that are disconnected and may still have leases: if an operator denies their
// certificates, these leases end as if the edges were connected.
type lostEdges struct {
	mu  sync.Mutex
	all map[balance.EdgeID]*lostEdge
}

type lostEdge struct{ stop func() }

// watchCertificate watches the certificate of a disconnected edge for as long as any of its leases can last.
func (l *lostEdges) watchCertificate(m *Master, e *edge) {
	if e.identity == nil {
		return
	}
	var longest time.Duration
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		longest = max(longest, p.cfg.LeaseTime, p.cfg.Grace)
		p.mu.Unlock()
	}
	lost := new(lostEdge)
	unguard := m.trust.Guard(e.identity, func(err error) {
		if isDenied(err) && l.forget(e.id, lost) {
			m.denyEdge(e.id)
		}
	})
	timer := time.AfterFunc(longest, func() { l.forget(e.id, lost) })
	lost.stop = func() {
		unguard()
		timer.Stop()
	}
	l.forget(e.id, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[balance.EdgeID]*lostEdge)
	}
	l.all[e.id] = lost
}

// forget ends the watch over an edge that is back, denied or without leases. It reports whether there was one.
// only restricts it to one watch; nil: any.
func (l *lostEdges) forget(id balance.EdgeID, only *lostEdge) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.all[id]
	if lost == nil || only != nil && lost != only {
		return false
	}
	delete(l.all, id)
	lost.stop()
	return true
}

// denyEdge ends all leases of an edge.
func (m *Master) denyEdge(id balance.EdgeID) {
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		p.edgeDeniedLocked(now, id)
		p.unlock()
	}
}
