// Package rate computes how fast a counter grows, such as the CPU time of a control group. It takes readings
// and times and does no I/O, so that the agent runs it on what the kernel counts and the simulator on what a
// model counts.
package rate

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Window is how far back a Counter looks if it is read often. The kernel counts CPU time in
// steps of some milliseconds and hands out a quota in periods of 100 ms, so that over a
// shorter time the figure would be mostly noise.
const Window = 500 * time.Millisecond

// Counter is a number that grows. The zero value has not been read yet.
type Counter struct {
	past []mark // readings that the next rate may begin at, oldest first
}

type mark struct {
	at    balance.Instant
	count float64
}

// Step takes the counter's value at now. It returns the mean growth a second and the time that this is a mean
// over: Window or a little more, less while the first readings are younger, and the time since the last
// reading if that is longer ago. ok is false at the first reading, and when the counter has fallen or no time
// has passed: then it starts again.
func (c *Counter) Step(now balance.Instant, count float64) (perSecond float64, over time.Duration, ok bool) {
	if n := len(c.past); n > 0 && (count < c.past[n-1].count || now <= c.past[n-1].at) {
		c.past = c.past[:0]
	}
	c.past = append(c.past, mark{now, count})
	from := 0
	for from+1 < len(c.past)-1 && now.Sub(c.past[from+1].at) >= Window {
		from++
	}
	c.past = append(c.past[:0], c.past[from:]...)
	if len(c.past) == 1 {
		return 0, 0, false
	}
	over = now.Sub(c.past[0].at)
	return (count - c.past[0].count) / over.Seconds(), over, true
}
