//go:build !linux

package fd

// MonotonicMicros returns 0: service managers that read the system's monotonic clock are Linux's.
func MonotonicMicros() int64 { return 0 }
