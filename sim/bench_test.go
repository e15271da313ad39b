package sim

import "testing"

// BenchmarkRequests tells how many requests are simulated in a second of one core.
func BenchmarkRequests(b *testing.B) {
	for _, name := range []string{"least-load", "haproxy-leastconn", Ideal} {
		b.Run(name, func(b *testing.B) {
			s := scenario(b, "b1-4")
			for b.Loop() {
				Run(s, name, 1)
			}
			b.ReportMetric(float64(s.WithDefaults().Requests)*float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
