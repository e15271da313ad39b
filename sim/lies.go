package sim

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is servers whose reports are not true, as far as Scenario.Lies has them.

const (
	liesStale    = "stale"     // what was so Age ago; with a share of 1 it is said to be of now
	liesFullUtil = "full-util" // a utilisation of 1
	liesOnce     = "once"      // Slots requests in flight, once, at Age
	liesThreads  = "threads"   // how many of Slots threads are busy
	liesZero     = "zero"      // nothing in flight, no utilisation
	liesFull     = "full"      // as many in flight as there are slots
	liesFullCPU  = "full-cpu"  // the CPU's utilisation of 1, and no count
	liesRandom   = "random"    // anything up to twice what fills it
	liesLost     = "lost"      // nothing is told
	liesUtil     = "util"      // the utilisation alone, which is true
	liesCPU      = "cpu"       // the same, as the CPU's
	liesCount    = "count"     // the count alone, which is true
)

var lies = []string{liesStale, liesFullUtil, liesOnce, liesThreads, liesZero, liesFull, liesFullCPU, liesRandom, liesLost, liesUtil, liesCPU, liesCount}

// liar is what a server whose reports are not true remembers.
type liar struct {
	past  []load // that are told later
	since balance.Instant
	area  float64 // request-seconds
	told  balance.Instant
	once  bool
}

// stay accounts for the requests present until now.
func (l *liar) stay(now balance.Instant, present int) {
	l.area += float64(present) * now.Sub(l.since).Seconds()
	l.since = now
}

// isTold reports whether a server is among those that lie, which are spread out.
func (l *Lies) isTold(server int) bool {
	return int(float64(server+1)*l.Share+1e-9) > int(float64(server)*l.Share+1e-9)
}

func (w *world) lie(now balance.Instant, server int32) (load, bool) {
	s, how := &w.servers[server], w.s.Lies
	s.last.server, s.last.taken = server, now
	w.means(now, s)
	s.last.inFlight = float64(s.InFlight())
	l := s.last
	switch how.What {
	case liesFullUtil:
		l.utilization = 1
	case liesZero:
		l.utilization, l.inFlight = 0, 0
	case liesFull:
		l.utilization, l.inFlight = 1, float64(s.Slots())
	case liesFullCPU:
		l.utilization, l.inFlight, l.cpu = 1, -1, true
	case liesRandom:
		l.utilization, l.inFlight = w.rng.Float64(), math.Floor(2*float64(s.Slots())*w.rng.Float64())
	case liesLost:
		return l, false
	case liesUtil, liesCPU:
		l.inFlight, l.cpu = -1, how.What == liesCPU
	case liesCount:
		l.utilization = -1
	case liesOnce:
		if !s.lies.once && now >= start+balance.Instant(how.Age) {
			s.lies.once = true
			l.inFlight = how.Slots
		}
	case liesThreads:
		s.lies.stay(now, s.InFlight())
		l.utilization = 0
		if now > s.lies.told {
			l.utilization = min(1, s.lies.area/now.Sub(s.lies.told).Seconds()/how.Slots)
		}
		s.lies.area, s.lies.told = 0, now
	case liesStale:
		s.lies.past = append(s.lies.past, l)
		if now.Sub(s.lies.past[0].taken) < how.Age {
			return l, false
		}
		l = s.lies.past[0]
		s.lies.past = s.lies.past[1:]
		if how.Share == 1 {
			l.taken = now
		}
	}
	return l, true
}
