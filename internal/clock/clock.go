// Package clock reads the process's monotonic clock for the shells. The pure rooms
// are handed what it returns.
package clock

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// start lies before every Instant, so that none is zero, which stands for never.
var start = time.Now().Add(-time.Hour)

// Now returns the present instant. It never jumps, whatever happens to the wall clock.
func Now() balance.Instant { return balance.Instant(time.Since(start)) }

// Time returns the time of day at an instant, for people.
func Time(t balance.Instant) time.Time { return start.Add(time.Duration(t)) }

// Micros returns the time of day at an instant, in microseconds since 1970, for what is
// kept beyond the life of this process.
func Micros(t balance.Instant) int64 { return Time(t).UnixMicro() }

// AtMicros returns the instant of a time of day, in microseconds since 1970.
func AtMicros(micros int64) balance.Instant {
	return balance.Instant(time.UnixMicro(micros).Sub(start))
}
