//go:build !linux

package clock

import "time"

// SleepPrecise sleeps as exactly as this system lets it.
func SleepPrecise(d time.Duration) { time.Sleep(d) }
