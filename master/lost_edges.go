package master

import (
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// lostEdges are edges whose connections are lost and whose leases may go on for a while: their certificates are
// judged anew when an operator denies one, as if they were connected.
type lostEdges struct {
	mu  sync.Mutex
	all map[balance.EdgeID]*lostEdge
}

type lostEdge struct{ stop func() }

// watch begins, when the connection of an edge is lost, to look after its certificate, for as long as any of
// its leases can go on.
func (l *lostEdges) watch(m *Master, e *edge) {
	if e.who == nil {
		return
	}
	var longest time.Duration
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		longest = max(longest, p.cfg.LeaseTime, p.cfg.Grace)
		p.mu.Unlock()
	}
	lost := new(lostEdge)
	unguard := m.trust.Guard(e.who, func(err error) {
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

// forget ends the watch over an edge, which has come back, is denied or has no leases any more. It
// reports whether it was under way. only is the one that is meant; nil: any.
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
		p.denied(now, id)
		p.unlock()
	}
}
