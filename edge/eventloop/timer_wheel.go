package eventloop

import (
	"math/bits"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// TimerWheel keeps the timers of one loop. Extending a timer only stores its due time: it moves to a later
// slot when the wheel reaches it, so a deadline for each request is one store.
type TimerWheel struct {
	slots    [wheelSlots]*Timer // heads of lists
	occupied [wheelSlots / 64]uint64
	tick     int64 // all earlier timers are done
}

const (
	wheelSlots = 1024
	wheelTick  = 4 * time.Millisecond
)

// Timer calls its owner when it is due. The wheel owns the other fields.
type Timer struct {
	Owner      TimerOwner
	Due        balance.Instant // zero: never
	at         int64           // tick of its slot; zero: none
	next, prev *Timer
}

// TimerOwner is what a timer belongs to.
type TimerOwner interface {
	// OnTimer is called once after the timer's due time, which it may set again.
	OnTimer()
}

func tickOf(t balance.Instant) int64 { return int64(t) / int64(wheelTick) }

// start sets an empty wheel to the present.
func (w *TimerWheel) start(now balance.Instant) { w.tick = tickOf(now) }

// Set sets the due time; zero: never.
func (w *TimerWheel) Set(t *Timer, due balance.Instant) {
	t.Due = due
	if due == 0 || t.at != 0 && tickOf(due)+1 >= t.at {
		return
	}
	w.Stop(t)
	w.insert(t)
}

// Stop removes the timer.
func (w *TimerWheel) Stop(t *Timer) {
	if t.at == 0 {
		return
	}
	slot := t.at % wheelSlots
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else if w.slots[slot] = t.next; t.next == nil {
		w.occupied[slot/64] &^= 1 << (slot % 64)
	}
	t.next, t.prev, t.at = nil, nil, 0
}

// insert puts a timer into its slot; one due beyond the horizon into the last slot.
func (w *TimerWheel) insert(t *Timer) {
	t.at = min(max(tickOf(t.Due)+1, w.tick+1), w.tick+wheelSlots-1)
	slot := t.at % wheelSlots
	if t.next = w.slots[slot]; t.next != nil {
		t.next.prev = t
	}
	w.slots[slot] = t
	w.occupied[slot/64] |= 1 << (slot % 64)
}

// advance calls the owners of all due timers.
func (w *TimerWheel) advance(now balance.Instant) {
	last := tickOf(now)
	if last-w.tick >= wheelSlots { // the process was suspended: one round finds them all
		w.tick = last - wheelSlots
	}
	for w.tick < last {
		w.tick++
		slot := w.tick % wheelSlots
		for w.slots[slot] != nil && w.slots[slot].at <= w.tick {
			t := w.slots[slot]
			w.Stop(t)
			switch {
			case t.Due == 0:
			case t.Due <= now:
				t.Due = 0
				t.Owner.OnTimer()
			default:
				w.insert(t)
			}
		}
	}
}

// untilNext returns how long no timer is due; negative: forever.
func (w *TimerWheel) untilNext(now balance.Instant) time.Duration {
	for i := int64(1); i <= wheelSlots; {
		slot := (w.tick + i) % wheelSlots
		if word := w.occupied[slot/64] >> (slot % 64); word != 0 {
			due := balance.Instant((w.tick + i + int64(bits.TrailingZeros64(word))) * int64(wheelTick))
			return max(0, due.Sub(now))
		}
		i += 64 - slot%64
	}
	return -1
}
