// Package station models one server that works on several requests at once, in virtual time: the caller passes the time, and the station
// returns the requests that have finished and the time of the next event. The simulator runs whole pools of them; the sample server runs
// one against the real clock with a single timer.
//
// There are two disciplines. Under processor sharing n requests on c slots all
// progress, each at speed·min(1, c/n). First come, first served works on c requests
// at full speed and lets the others wait.
//
// In both, all requests in work progress equally fast at any moment. So a station
// keeps one clock of the work that each of them has received, and a heap of the
// readings at which they finish: an event costs O(log n) however many are present.
package station

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Station is one server. It is not safe for concurrent use. Methods that take the
// time must be called with times that do not fall, starting from zero or more; they
// first let everything happen that happens by then, so nothing is lost by calling
// late. In the steady state none of them allocates.
type Station struct {
	inOrder bool
	speed   float64
	rates   []float64 // rates[k]: what k slots, the fastest first, achieve together at speed 1

	now      balance.Instant
	rate     float64         // how fast every request in work progresses
	due      balance.Instant // when the first of them finishes, or the quota's gear changes before; never: neither will
	finishes bool            // the first of them, at due
	received float64         // work that each request in work has received since the station was last idle, seconds at speed 1
	working  byEnd
	waiting  ring
	finished ring
	busy     float64 // slot-seconds
	cpu      float64 // slot-seconds of CPU time, which lump where there is a quota
	quota    quota
	seq      uint64
}

// NewPS returns an idle processor-sharing station of at least one slot. It panics
// if the figures make no station.
func NewPS(slots int, speed float64) *Station {
	return newStation(equal(slots), speed, false)
}

// NewFCFS returns an idle station that serves in order of arrival.
func NewFCFS(slots int, speed float64) *Station {
	return newStation(equal(slots), speed, true)
}

// NewPooled returns an idle processor-sharing station whose slots differ: its n
// requests share evenly what its n fastest slots achieve. No real pool of servers
// with these slots, which cannot move a request once it has begun, can do better.
func NewPooled(slotSpeeds []float64) *Station {
	return newStation(slotSpeeds, 1, false)
}

func newStation(slotSpeeds []float64, speed float64, inOrder bool) *Station {
	if len(slotSpeeds) == 0 || !(speed >= 0) || math.IsInf(speed, 0) {
		panic(fmt.Sprintf("station: %d slots at speed %v", len(slotSpeeds), speed))
	}
	s := &Station{inOrder: inOrder, speed: speed}
	s.setSlots(slotSpeeds)
	s.plan()
	return s
}

func equal(slots int) []float64 {
	speeds := make([]float64, max(0, slots))
	for i := range speeds {
		speeds[i] = 1
	}
	return speeds
}

func (s *Station) setSlots(speeds []float64) {
	s.rates = append(s.rates[:0], 0)
	s.rates = append(s.rates, speeds...)
	own := s.rates[1:]
	slices.Sort(own)
	slices.Reverse(own)
	for i := range own {
		own[i] += s.rates[i]
	}
}

// Slots returns how many requests the station works on without slowing any.
func (s *Station) Slots() int { return len(s.rates) - 1 }

// Speed returns what SetSpeed or the constructor set.
func (s *Station) Speed() float64 { return s.speed }

// InFlight returns how many requests are present, in work or waiting, as of the
// last time the station was told.
func (s *Station) InFlight() int { return len(s.working) + s.waiting.len() }

// Busy returns the slot-seconds worked so far: its growth over a window, divided by
// the window and the slots, is the mean utilisation.
func (s *Station) Busy(now balance.Instant) float64 {
	s.advance(now)
	return s.busy
}

// Arrive gives the station a request with so many seconds of work at speed 1. The
// caller keeps job ids apart.
func (s *Station) Arrive(now balance.Instant, job uint64, work float64) {
	s.advance(now)
	s.seq++
	if s.inOrder && len(s.working) == s.Slots() {
		s.waiting.push(task{job: job, end: work, seq: s.seq})
		return
	}
	s.working.push(task{job: job, end: s.received + max(0, work), seq: s.seq})
	s.plan()
}

// Next returns when to look again: when the next request finishes if nothing else happens
// before, or with a quota when the station's pace changes before that; ok is false when
// neither will. It is in the past while finished requests wait to be taken.
func (s *Station) Next() (at balance.Instant, ok bool) {
	if s.finished.len() > 0 {
		return s.now, true
	}
	return s.due, s.due != never
}

// Finish takes one request that has finished by now, in order of finishing; ok is
// false when there is none left.
func (s *Station) Finish(now balance.Instant) (job uint64, ok bool) {
	s.advance(now)
	if s.finished.len() == 0 {
		return 0, false
	}
	return s.finished.pop().job, true
}

// Abort takes a request away unfinished. It returns false if the station does not
// have it, or has finished it. It looks at every request present.
func (s *Station) Abort(now balance.Instant, job uint64) bool {
	s.advance(now)
	for i := range s.working {
		if s.working[i].job == job {
			s.working.remove(i)
			s.begin()
			return true
		}
	}
	return s.waiting.remove(job)
}

// SetSpeed changes how fast every slot is from now on; zero halts the station.
func (s *Station) SetSpeed(now balance.Instant, speed float64) {
	s.advance(now)
	s.speed = speed
	s.plan()
}

// SetSlots changes the speeds of a pooled station's slots from now on, and with
// them their number.
func (s *Station) SetSlots(now balance.Instant, slotSpeeds []float64) {
	s.advance(now)
	s.setSlots(slotSpeeds)
	s.begin()
}

// plan works out how fast the requests in work progress and when the first of them
// finishes, after anything that changes it.
func (s *Station) plan() {
	n := len(s.working)
	s.due, s.finishes = never, true
	if n == 0 {
		return
	}
	s.rate = s.quota.gear() * s.speed * s.rates[min(n, s.Slots())] / float64(n)
	left := max(0, s.working[0].end-s.received)
	if left < longest*s.rate {
		// Rounded up, so that the work is done by then; less a little, so that rounding
		// of the float never costs a nanosecond.
		s.due = s.now + balance.Instant(math.Ceil(left/s.rate*1e9-1e-3))
	}
	if at := s.quota.next(s.now, min(n, s.Slots())); at < s.due {
		s.due, s.finishes = at, false
	}
}

const never = balance.Instant(math.MaxInt64)

// longest is beyond what an Instant holds after long runs: such work never ends.
const longest = float64(100*365*24*time.Hour) / 1e9

// advance lets everything happen that happens by now.
func (s *Station) advance(now balance.Instant) {
	for s.due <= now {
		s.work(s.due)
		if s.finishes {
			s.finished.push(s.working.remove(0))
		}
		s.begin()
	}
	s.work(now)
}

// work advances the clocks while no request arrives or finishes.
func (s *Station) work(now balance.Instant) {
	if now <= s.now {
		return
	}
	seconds := float64(now-s.now) / 1e9
	s.now = now
	if len(s.working) == 0 {
		s.received = 0 // no reading refers to the old count, and small figures stay exact
		s.quota.spend(now, 0)
		return
	}
	s.received += seconds * s.rate
	slots := float64(min(len(s.working), s.Slots()))
	cpu := seconds * slots * s.quota.gear()
	s.busy += seconds * slots
	s.cpu += cpu
	s.quota.spend(now, cpu)
}

// begin puts the first that wait to work while slots are free, and plans.
func (s *Station) begin() {
	for s.waiting.len() > 0 && len(s.working) < s.Slots() {
		t := s.waiting.pop()
		t.end = s.received + max(0, t.end)
		s.working.push(t)
	}
	s.plan()
}
