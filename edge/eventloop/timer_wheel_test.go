package eventloop

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// alarm is a timer's owner of the test. It knows when its timer is due by itself.
type alarm struct {
	Timer
	due   balance.Instant // zero: never
	fired func(*alarm)
}

func (a *alarm) OnTimer() { a.fired(a) }

// TestWheelAgainstAList drives a wheel and a plain list of due times by the same calls. No timer
// is early, none is late by more than two ticks, none fires that was dropped or put off, and
// who sleeps for as long as the wheel says misses none.
func TestWheelAgainstAList(t *testing.T) {
	for range 20 { // a hundred cases each
		rapid.Check(t, wheelAgainstAList)
	}
}

func wheelAgainstAList(t *rapid.T) {
	now := balance.Instant(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "start"))
	var w TimerWheel
	w.start(now)
	all := make([]*alarm, rapid.IntRange(1, 8).Draw(t, "timers"))
	ahead := rapid.Custom(func(t *rapid.T) time.Duration { // near, within the wheel's horizon, and far beyond
		most := rapid.SampledFrom([]time.Duration{0, wheelTick, 300 * wheelTick, wheelSlots * wheelTick, 4 * wheelSlots * wheelTick}).Draw(t, "most")
		return time.Duration(rapid.Int64Range(-int64(wheelTick), int64(most)).Draw(t, "ahead"))
	})
	slept := false // the wheel said for how long
	set := func(a *alarm, due balance.Instant) {
		a.due = due
		w.Set(&a.Timer, due)
	}
	fired := func(a *alarm) {
		switch {
		case a.due == 0:
			t.Fatalf("a timer fired that was not set")
		case a.due > now:
			t.Fatalf("a timer fired %v early", a.due.Sub(now))
		case slept && now.Sub(a.due) > 2*wheelTick:
			t.Fatalf("a loop that sleeps as it is told fires a timer %v late", now.Sub(a.due))
		}
		if a.due = 0; rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			set(a, now.Add(ahead.Draw(t, "next")))
		}
	}
	for i := range all {
		all[i] = &alarm{fired: fired}
		all[i].Owner = all[i]
	}
	check := func() {
		for _, a := range all {
			if late := now.Sub(a.due); a.due != 0 && late > 2*wheelTick {
				t.Fatalf("a timer that was due %v ago has not fired", late)
			}
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"set":    func(t *rapid.T) { set(rapid.SampledFrom(all).Draw(t, "timer"), now.Add(ahead.Draw(t, "due"))) },
		"forget": func(t *rapid.T) { set(rapid.SampledFrom(all).Draw(t, "timer"), 0) },
		"drop": func(t *rapid.T) {
			a := rapid.SampledFrom(all).Draw(t, "timer")
			a.due = 0
			w.Stop(&a.Timer)
			a.Timer.Due = 0
		},
		"turn": func(t *rapid.T) {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*wheelSlots*wheelTick)).Draw(t, "passes")))
			w.advance(now)
			check()
		},
		"sleep": func(t *rapid.T) { // as a loop does to which nothing else comes
			if pause := w.untilNext(now); pause >= 0 {
				now = now.Add(pause)
			} else {
				for _, a := range all {
					if a.due != 0 {
						t.Fatalf("the wheel says that nothing is due, and a timer is, in %v", a.due.Sub(now))
					}
				}
			}
			slept = true
			w.advance(now)
			slept = false
			check()
		},
	})
	for sleeps := 0; w.untilNext(now) >= 0; sleeps++ { // the rest
		if sleeps > 2000 {
			t.Fatal("the wheel does not come to rest")
		}
		now = now.Add(w.untilNext(now))
		w.advance(now)
		check()
	}
	for _, a := range all {
		if a.due != 0 {
			t.Fatalf("a timer is left, due in %v", a.due.Sub(now))
		}
	}
}
