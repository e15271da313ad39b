package sim

import (
	"net/http"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is a request's journey, in the order in which it happens.

// arrive is a request reaching its edge, or a client sending one past the edges.
func (w *world) arrive(now balance.Instant) {
	if w.view.one {
		w.upcoming.edge = min(w.upcoming.edge, 0)
	}
	id := w.admit(w.upcoming)
	w.upcoming, w.pending = w.trace.next()
	if !w.pending {
		w.finishCounting(now)
	}
	if w.requests[id].edge < 0 {
		w.straight.send(now, id)
		return
	}
	w.place(now, id)
}

// place is an edge looking for a server.
func (w *world) place(now balance.Instant, id int32) {
	r := &w.requests[id]
	switch {
	case w.master != nil && w.master.up && w.chooseLocally(now, id):
	case w.master != nil && w.master.up:
		w.rideAlong(now, r.edge)
		w.asks.send(now, id)
	case w.master != nil:
		w.fallBack(now, id)
	default:
		w.send(now, id, w.chooser.choose(now, id, r))
		if w.prober != nil {
			w.prober.query(now, w.requests[id].edge)
		}
	}
}

func (w *world) admit(a arrival) int32 {
	w.under++
	counted, troubled := w.tally.admit(w, a)
	return w.insert(request{arrival: a, counted: counted, troubled: troubled, server: a.server})
}

// insert gives a request its id.
func (w *world) insert(r request) int32 {
	if n := len(w.free); n > 0 {
		id := w.free[n-1]
		w.free = w.free[:n-1]
		w.requests[id] = r
		return id
	}
	w.requests = append(w.requests, r)
	return int32(len(w.requests) - 1)
}

// ask is an ask reaching the master.
func (w *world) ask(now balance.Instant, id int32) {
	if !w.master.up {
		w.fallBack(now, id)
		return
	}
	server := w.chooser.choose(now, id, &w.requests[id])
	switch server {
	case waits:
	case refuses:
		w.refused(now, id)
	default:
		if len(w.locals) > 0 {
			w.locals[w.requests[id].edge].Asked(now+w.asks.delay, time.Duration(2*w.asks.delay), w.master.localFrom)
		}
		w.granted(now, id, server)
	}
	w.master.serve(now)
}

// granted is the master's answer leaving for the edge, which links at once.
func (w *world) granted(now balance.Instant, id, server int32) {
	r := &w.requests[id]
	r.server = server
	r.sent = now + w.asks.delay
	w.inFlight[r.edge][server]++
	w.grants.send(now, id)
}

// send is an edge linking to a server of its own choice.
func (w *world) send(now balance.Instant, id, server int32) {
	r := &w.requests[id]
	r.server, r.sent = server, now
	w.inFlight[r.edge][server]++
	w.straight.send(now, id)
}

// refused ends a request without a server.
func (w *world) refused(now balance.Instant, id int32) {
	w.tally.refuse(&w.requests[id])
	w.release(id)
}

// reach is a request reaching its server.
func (w *world) reach(now balance.Instant, id int32) {
	r := &w.requests[id]
	s := &w.servers[r.server]
	if s.down {
		w.refuseConnection(now, id)
		return
	}
	if s.sick {
		r.faulty, r.result = true, balance.Fault
		w.errors.send(now, id)
		return
	}
	if limit := w.fleet[r.server].Limit; limit > 0 && s.InFlight() >= limit {
		r.faulty, r.result, r.status = true, balance.Fault, http.StatusServiceUnavailable
		w.errors.send(now, id)
		return
	}
	r.present = true
	s.lies.stay(now, s.InFlight())
	work := r.work
	if s.cold > 0 {
		s.cold--
		work *= w.s.Cold.Factor
	}
	if s.cache != nil && r.key >= 0 && s.cache.touch(r.key) {
		work *= w.s.Affinity.HitCost
	}
	if s.pace != nil {
		s.pace.begin(id, s.InFlight(), now)
	}
	s.Arrive(now, uint64(id), work)
	w.reschedule(r.server)
}

func (w *world) reschedule(server int32) {
	at, ok := w.servers[server].Next()
	if !ok {
		at = never
	}
	w.race.set(int(server), at)
}

// finish is a server completing what it has completed by now.
func (w *world) finish(now balance.Instant, server int32) {
	s := &w.servers[server]
	s.lies.stay(now, s.InFlight())
	for job, ok := s.Finish(now); ok; job, ok = s.Finish(now) {
		id := int32(job)
		s.finished++
		w.requests[id].present = false
		if s.pace != nil {
			s.pace.end(id, now)
		}
		if w.s.Reports.Responses {
			w.requests[id].load, _ = w.stock(now, server)
		}
		w.responses.send(now, id)
	}
	w.reschedule(server)
}

// respond is the response passing the edge on its way to the client.
func (w *world) respond(now balance.Instant, id int32) {
	r := &w.requests[id]
	w.tally.respond(now, r, balance.Instant(w.s.Deadline))
	if w.watch != nil {
		w.watch(now, r)
	}
	w.answered(now, id)
}

// answered is a request being over at its edge.
func (w *world) answered(now balance.Instant, id int32) {
	r := &w.requests[id]
	r.answered = true
	if r.edge < 0 {
		w.release(id)
		return
	}
	w.inFlight[r.edge][r.server]--
	if w.master == nil {
		w.over(now, id)
		return
	}
	if !w.master.up {
		w.release(id)
		return
	}
	if w.s.DoneAge == 0 {
		w.dones.send(now, id)
		return
	}
	if len(w.batches[r.edge]) == 0 {
		w.timers.set(now+balance.Instant(w.s.DoneAge), flushDones, int(r.edge))
	}
	w.batches[r.edge] = append(w.batches[r.edge], id)
}

// rideAlong sends the edge's dones that wait.
func (w *world) rideAlong(now balance.Instant, edge int32) {
	for _, id := range w.batches[edge] {
		w.dones.send(now, id)
	}
	w.batches[edge] = w.batches[edge][:0]
}

// over is a done that arrives at the chooser: the master, or a peer's edge.
func (w *world) over(now balance.Instant, id int32) {
	r := &w.requests[id]
	if w.s.Reports.Responses && !r.faulty {
		w.chooser.report(now, r.load)
	}
	w.chooser.done(now, r)
	w.release(id)
	if w.master != nil {
		w.master.serve(now)
	}
}

func (w *world) release(id int32) {
	w.requests[id].lease, w.requests[id].wait = 0, wait{}
	w.free = append(w.free, id)
	w.under--
}
