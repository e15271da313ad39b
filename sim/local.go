package sim

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is edges that choose servers by themselves and tell the master afterwards, as package edge does.

// pushEvery is how often the master sends its edges what has changed, and loadsEvery how often loads and slots.
const (
	pushEvery  = 100 * time.Millisecond
	loadsEvery = time.Second
)

// push is what the master sends its edges.
type push struct {
	snapshot *balance.Snapshot // nil: nothing of it has changed
	from     time.Duration     // the trip from which they choose
}

// sendPush sends the edges what has changed.
func (w *world) sendPush(now balance.Instant) {
	w.timers.set(now+balance.Instant(pushEvery), pushChanges, 0)
	m := w.master
	if m == nil || !m.up {
		return
	}
	p := push{from: m.pool.LocalFrom()}
	if _, version := m.pool.Servers(); m.told == 0 || now.Sub(m.told) >= loadsEvery || version != m.version {
		m.told, m.version = now, version
		p.snapshot = m.pool.Snapshot(now)
		p.snapshot.Edges = w.s.Edges
	}
	w.pushes.send(now, p)
}

// takePush is the edges reading it.
func (w *world) takePush(p push) {
	w.master.localFrom = p.from
	if p.snapshot != nil {
		w.master.snapshot = p.snapshot
	}
}

// chooseLocally has the edge choose the request's server, if it does so at present.
func (w *world) chooseLocally(now balance.Instant, id int32) bool {
	r := &w.requests[id]
	if len(w.locals) == 0 || r.tried.n > 0 || !w.locals[r.edge].Chooses(now, w.master.localFrom) {
		return false
	}
	m := w.master
	chosen := m.turns[r.edge].LeastByShare(m.snapshot, nil, m.busyAt(r.edge), m.lonely)
	if chosen == nil {
		return false
	}
	server := m.index[chosen.ID]
	w.ownLeases++
	w.rideAlong(now, r.edge)
	w.send(now, id, server)
	w.requests[id].lease = w.ownLeases
	w.chosen.send(now, id)
	return true
}

// tellChosen is the word of a request whose edge has chosen reaching the master.
func (w *world) tellChosen(now balance.Instant, id int32) {
	r := &w.requests[id]
	if !w.master.up {
		return
	}
	w.master.describe(r)
	if err := w.master.pool.Chosen(now, &w.master.ask, r.lease, w.master.ids[r.server]); err == nil {
		w.master.serve(now)
	}
}
