package load

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel. Go's own timers wait for the network poller, which counts
// in milliseconds, so they are about one late.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil) // whoever is interrupted looks at the clock anyhow
}
