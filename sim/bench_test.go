//go:build unix

package sim

import (
	"syscall"
	"testing"
)

// BenchmarkRequests tells how many requests are simulated in a second of one core.
// It counts the processor's time, so that a busy machine does not show in it.
func BenchmarkRequests(b *testing.B) {
	for _, name := range []string{"least-load", "haproxy-leastconn", Ideal} {
		b.Run(name, func(b *testing.B) {
			s := scenario(b, "b1-4")
			from := cpuSeconds(b)
			for b.Loop() {
				Run(s, name, 1)
			}
			b.ReportMetric(float64(s.WithDefaults().Requests)*float64(b.N)/(cpuSeconds(b)-from), "requests/s")
		})
	}
}

func cpuSeconds(b *testing.B) float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
