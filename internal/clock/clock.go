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
