package agent

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// rate tells how fast a counter grows over the last window or, when it is asked less
// often, since it was asked last. The kernel counts CPU time in steps of some
// milliseconds, so over one report's interval the figure would be mostly noise.
type rate struct {
	past []mark // oldest first
}

type mark struct {
	at    balance.Instant
	count float64
}

const window = 500 * time.Millisecond

// step takes the counter's value at now and returns its growth a second. ok is false
// at the first step, and when the counter has fallen: then it counts anew.
func (r *rate) step(now balance.Instant, count float64) (perSecond float64, ok bool) {
	if n := len(r.past); n > 0 && (count < r.past[n-1].count || now <= r.past[n-1].at) {
		r.past = r.past[:0]
	}
	r.past = append(r.past, mark{now, count})
	from := 0
	for from+1 < len(r.past)-1 && now.Sub(r.past[from+1].at) >= window {
		from++
	}
	r.past = append(r.past[:0], r.past[from:]...)
	first := r.past[0]
	if len(r.past) == 1 {
		return 0, false
	}
	return (count - first.count) / now.Sub(first.at).Seconds(), true
}
