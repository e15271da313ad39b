package clock

import (
	"syscall"
	"time"
)

// SleepPrecise sleeps in the kernel, about a millisecond more exactly than time.Sleep: Go's own timers wait
// for the network poller, which counts in milliseconds. It may return early, when a signal comes; the caller looks
// at the clock. It holds a thread meanwhile.
func SleepPrecise(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // early, if a signal comes
}
