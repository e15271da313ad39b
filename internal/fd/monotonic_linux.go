package fd

import "golang.org/x/sys/unix"

// MonotonicMicros returns the system's monotonic clock in microseconds, as service managers read it.
func MonotonicMicros() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano() / 1000
}
