package sim

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/station"
)

// Ideal is the name of the ideal scheduler, which no real one can reach.
const Ideal = "ideal"

// runIdeal lets the trace meet the ideal. Where servers share their processor, it is
// one server with all their slots: it moves requests from slot to slot as it likes, so
// that n requests share what the n fastest slots achieve. Where servers work in order,
// it is one queue before all of them, which gives the first in line to the fastest
// server with a slot free. Either way a request pays the round trip to its server and
// no ask. Antagonists slow its slots as they do the servers'; faults pass it by.
func runIdeal(s *Scenario, seed uint64) Result {
	w := newWorld(s, seed)
	all := w.timers.heap
	w.timers = timers{}
	for _, t := range all {
		if t.what == slowServer || t.what == dragBegins {
			w.timers.set(t.at, t.what, t.index)
		}
	}
	if s.Servers.Discipline == "fcfs" {
		w.runCentral()
	} else {
		w.runPooled()
	}
	r := w.result(Ideal)
	r.Utilization = math.NaN() // it has no servers
	return r
}

// reached is when the request whose turn it is stands before the ideal.
func (w *world) reached() balance.Instant {
	if !w.pending {
		return never
	}
	return w.upcoming.at + w.straight.delay
}

func (w *world) enter() (id int32) {
	id = w.admit(w.upcoming)
	w.upcoming, w.pending = w.trace.next()
	if !w.pending {
		w.finishCounting(w.requests[id].at)
	}
	return id
}

func (w *world) leave(now balance.Instant, id int32) {
	w.tally.respond(now+w.responses.delay, &w.requests[id], balance.Instant(w.s.Deadline))
	w.release(id)
}

func (w *world) runPooled() {
	speeds := make([]float64, 0, 4*len(w.fleet))
	slots := func() []float64 {
		speeds = speeds[:0]
		for i, k := range w.fleet {
			for range k.Slots {
				speeds = append(speeds, w.speed(i))
			}
		}
		return speeds
	}
	pool := station.NewPooled(slots())
	for w.pending || w.under > 0 {
		finish, some := pool.Next()
		if !some {
			finish = never
		}
		arrive, slow := w.reached(), w.timers.first()
		switch {
		case finish <= arrive && finish <= slow:
			for job, ok := pool.Finish(finish); ok; job, ok = pool.Finish(finish) {
				w.leave(finish, int32(job))
			}
		case slow <= arrive:
			w.ring(slow, w.timers.take())
			pool.SetSlots(slow, slots())
		default:
			id := w.enter()
			pool.Arrive(arrive, uint64(id), w.requests[id].work)
		}
	}
}

func (w *world) runCentral() {
	queue := newLane[int32](0)
	for w.pending || w.under > 0 {
		server, finish := w.race.first()
		arrive, slow := w.reached(), w.timers.first()
		switch {
		case finish <= arrive && finish <= slow:
			for job, ok := w.servers[server].Finish(finish); ok; job, ok = w.servers[server].Finish(finish) {
				w.leave(finish, int32(job))
			}
			w.reschedule(int32(server))
			w.feed(finish, &queue)
		case slow <= arrive:
			w.ring(slow, w.timers.take())
		default:
			queue.send(arrive, w.enter())
			w.feed(arrive, &queue)
		}
	}
}

// feed gives those in line to the fastest servers with a slot free.
func (w *world) feed(now balance.Instant, queue *lane[int32]) {
	for queue.count > 0 {
		best := -1
		for i := range w.servers {
			s := &w.servers[i]
			if s.InFlight() < s.Slots() && (best < 0 || s.Speed() > w.servers[best].Speed()) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		id := queue.take()
		w.servers[best].Arrive(now, uint64(id), w.requests[id].work)
		w.reschedule(int32(best))
	}
}
