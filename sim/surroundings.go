package sim

import (
	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is what happens by itself: reports, antagonists, faults.

func (w *world) ring(now balance.Instant, t timer) {
	switch t.what {
	case sampleServer:
		w.reports.send(now, w.sample(now, int32(t.index)))
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
		w.servers[i].sick = true
	}
	if f.What == "master" && w.master != nil {
		w.master.stop(now)
	}
}

func (w *world) mend(now balance.Instant, f Fault) {
	w.tally.trouble = false
	for _, i := range f.Servers {
		w.servers[i].sick = false
	}
	if f.What == "master" && w.master != nil {
		w.master.restart(now)
	}
}

// sample is a server taking stock for a report.
func (w *world) sample(now balance.Instant, server int32) load {
	s := &w.servers[server]
	s.last = w.fresh(now, server)
	s.busy, s.sampled, s.finished = s.Busy(now), now, 0
	return s.last
}

// fresh is what a server would say now. Shortly after a report the window is too
// short to say much, so the last figures stand until half an interval has passed.
func (w *world) fresh(now balance.Instant, server int32) load {
	s := &w.servers[server]
	busy := s.Busy(now)
	window := now.Sub(s.sampled)
	l := load{server: server, inFlight: float64(s.InFlight()), taken: now, utilization: s.last.utilization, rate: s.last.rate}
	if window > 0 && window >= w.s.Reports.Every/2 {
		l.utilization = (busy - s.busy) / window.Seconds() / float64(s.Slots())
		l.rate = float64(s.finished) / window.Seconds()
	}
	return l
}

// tell is a report reaching whoever chooses.
func (w *world) tell(now balance.Instant, l load) {
	w.chooser.report(now, l)
	if w.master != nil {
		w.master.serve(now)
	}
}
