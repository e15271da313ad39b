package sim

import (
	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is what happens by itself: reports, antagonists, faults.

func (w *world) ring(now balance.Instant, t timer) {
	switch t.what {
	case sampleServer:
		if l, ok := w.stock(now, int32(t.index)); ok {
			w.reports.send(now, l)
		}
		w.timers.set(now+balance.Instant(w.s.Reports.Every), sampleServer, t.index)
	case slowServer:
		w.turnWeather(now, t.index)
	case faultBegins:
		w.harm(now, w.s.Faults[t.index])
		w.timers.set(now+balance.Instant(w.s.Faults[t.index].For), faultEnds, t.index)
	case faultEnds:
		w.mend(now, w.s.Faults[t.index])
	case flushDones:
		w.rideAlong(now, int32(t.index))
	case serverLeaves:
		w.leaves(now, t.index)
	case serverReturns:
		w.returns(now, t.index)
	case checkServer:
		w.checkServer(now, t.index)
		w.timers.set(now+balance.Instant(w.s.Checks.Every), checkServer, t.index)
	}
}

// turnWeather lets a server's antagonist come or go.
func (w *world) turnWeather(now balance.Instant, server int) {
	s := &w.servers[server]
	s.slow = !s.slow
	s.SetSpeed(now, w.s.Slowdown.speed(w.fleet[server].Speed, s.slow))
	w.reschedule(int32(server))
	w.timers.set(w.s.Slowdown.next(now, s.slow, s.weather), slowServer, server)
}

func (s Slowdown) speed(full float64, there bool) float64 {
	if there {
		return full * s.Speed
	}
	return full
}

func (w *world) harm(now balance.Instant, f Fault) {
	w.tally.trouble = true
	for _, i := range f.Servers {
		if f.What == "down" {
			w.kill(now, i)
		} else {
			w.servers[i].sick = true
		}
	}
	if f.What == "master" && w.master != nil {
		w.master.stop(now)
	}
}

func (w *world) mend(now balance.Instant, f Fault) {
	w.tally.trouble = false
	for _, i := range f.Servers {
		w.servers[i].sick = false
		w.servers[i].down = false
	}
	if f.What == "master" && w.master != nil {
		w.master.restart(now)
	}
}

// tell is a report reaching whoever chooses.
func (w *world) tell(now balance.Instant, l load) {
	w.chooser.report(now, l)
	if w.master != nil {
		w.master.serve(now)
	}
}
