package sim

import (
	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is servers that leave in good order, with their requests, and come back as new ones.

// leaves is the next server leaving.
func (w *world) leaves(now balance.Instant, server int) {
	w.timers.set(now+balance.Instant(w.s.Churn.Every), serverLeaves, (server+1)%len(w.servers))
	s := &w.servers[server]
	if s.away {
		return
	}
	s.away = true
	if w.master != nil && w.master.up {
		w.master.pool.Goodbye(now, w.master.ids[server])
	}
	w.timers.set(now+balance.Instant(w.s.Churn.Away), serverReturns, server)
}

func (w *world) returns(now balance.Instant, server int) {
	s := &w.servers[server]
	s.away, s.cold = false, w.s.Cold.Requests
	if w.master != nil && w.master.up {
		w.master.put(now, server)
		w.master.serve(now)
	}
}
