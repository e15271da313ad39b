package sim

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is servers that are killed and started again: what becomes of the requests that are there, and
// how the master and the edges of others find out.

// tries is how many servers a request is sent to at most.
const tries = 3

// tried is the servers that have failed a request.
type tried struct {
	n  int8
	by [tries]int32
}

func (t *tried) servers() []int32 { return t.by[:t.n] }

func (t *tried) add(server int32) {
	t.by[t.n] = server
	t.n++
}

// check is what checks from outside have found of a server.
type check struct {
	failed bool // the verdict
	inRow  int  // checks since then that found the opposite
}

const (
	checksToTurn = 2
	failedFor    = 10 * balance.Instant(1e9) // that an edge without checks leaves out a server which has failed it, as nginx does by default
)

// kill ends a server's process: connections to it break.
func (w *world) kill(now balance.Instant, server int) {
	s := &w.servers[server]
	s.down = true
	for id := range w.requests {
		r := &w.requests[id]
		if r.present && r.server == int32(server) && s.Abort(now, uint64(id)) {
			r.present, r.faulty, r.result = false, true, balance.Broken
			if s.pace != nil {
				s.pace.end(int32(id), now)
			}
			w.breaks.send(now, int32(id))
		}
	}
	if s.cache != nil {
		s.cache = newLRU(w.s.Affinity.Keys, w.s.Affinity.Cache)
	}
	w.reschedule(int32(server))
}

// refuseConnection is a request reaching a server that is down.
func (w *world) refuseConnection(now balance.Instant, id int32) {
	r := &w.requests[id]
	r.faulty, r.result = true, balance.Unreachable
	w.breaks.send(now, id)
}

// broke is an edge learning that a server has broken off or cannot be reached. It sends the request to another.
func (w *world) broke(now balance.Instant, id int32) {
	r := &w.requests[id]
	if r.edge < 0 {
		w.release(id)
		return
	}
	w.failures[r.edge][r.server] = now
	again := *r
	again.lease, again.faulty, again.result = 0, false, balance.OK
	again.tried.add(r.server)
	r.counted = false // the other goes on for it
	w.answered(now, id)
	if again.tried.n == tries {
		w.tally.refuse(&again)
		return
	}
	w.under++
	w.place(now, w.insert(again))
}

// checkServer is a server being checked from outside.
func (w *world) checkServer(now balance.Instant, server int) {
	s := &w.servers[server]
	if s.down == s.check.failed {
		s.check.inRow = 0
		return
	}
	if s.check.inRow++; s.check.inRow < checksToTurn {
		return
	}
	s.check = check{failed: s.down}
	if w.master != nil && w.master.up {
		w.master.checked(now, server, s.down)
	}
}

// checked tells the pool what a check has found.
func (m *master) checked(now balance.Instant, server int, failed bool) {
	problem := ""
	if failed {
		problem = "connection refused"
	}
	if _, err := m.pool.SetHealth(now, m.ids[server], balance.ByMaster, problem); err != nil { // pools of several tenants have no checks
		panic(err) // all servers stand in the file
	}
	m.serve(now)
}

// isOpen reports whether an edge of others would send a request to the server. Where there are no
// checks, it leaves out for a while what has failed it.
func (l *local) isOpen(now balance.Instant, r *request, server int32) bool {
	switch {
	case slices.Contains(r.tried.servers(), server), l.w.servers[server].check.failed, l.w.servers[server].away:
		return false
	case l.w.s.Checks.Every > 0:
		return true
	}
	failed := l.w.failures[r.edge][server]
	return failed == 0 || now >= failed+failedFor
}
