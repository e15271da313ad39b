package sim

import (
	"math"

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
	case dragBegins, dragEnds:
		w.drag(now, t)
	case faultBegins:
		w.harm(now, w.s.Faults[t.index])
		w.timers.set(now+balance.Instant(w.s.Faults[t.index].For), faultEnds, t.index)
	case faultEnds:
		w.mend(now, w.s.Faults[t.index])
	case pushChanges:
		w.sendPush(now)
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
	w.setSpeed(now, server)
	w.timers.set(w.s.Slowdown.next(now, s.slow, s.weather), slowServer, server)
}

// drag slows servers down, or ends that.
func (w *world) drag(now balance.Instant, t timer) {
	d := &w.s.Drag[t.index]
	speed, ends := d.Speed, t.what == dragEnds
	if ends {
		speed = 1 / d.Speed
	} else {
		w.timers.set(now+balance.Instant(d.For), dragEnds, t.index)
		if d.Every > 0 {
			w.timers.set(now+balance.Instant(d.Every), dragBegins, t.index)
		}
	}
	for _, i := range d.Servers {
		if w.servers[i].dragged *= speed; math.Abs(w.servers[i].dragged-1) < 1e-9 {
			w.servers[i].dragged = 1
		}
		w.setSpeed(now, i)
	}
}

// speed returns the speed of a server's slots now.
func (w *world) speed(server int) float64 {
	return w.s.Slowdown.speed(w.fleet[server].Speed, w.servers[server].slow) * w.servers[server].dragged
}

func (w *world) setSpeed(now balance.Instant, server int) {
	w.servers[server].SetSpeed(now, w.speed(server))
	w.reschedule(int32(server))
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

// tell is a report that arrives at the chooser: the master, or a peer's edge.
func (w *world) tell(now balance.Instant, l load) {
	w.chooser.report(now, l)
	if w.master != nil {
		w.master.serve(now)
	}
}
