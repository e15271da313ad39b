package histogram

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Each duration is in the first bucket whose bound is not less, on every scale.
func TestBuckets(t *testing.T) {
	for _, s := range []*Scale{NewScale(time.Microsecond, time.Minute), NewScale(10*time.Microsecond, time.Minute), NewScale(time.Millisecond, 10*time.Minute), NewScale(10, 50)} {
		if len(s.bounds) == 0 || !slices.IsSorted(s.bounds) || len(s.bounds) >= most {
			t.Fatalf("bounds %v", s.bounds)
		}
		for i, bound := range s.bounds {
			if i > 0 && bound*3 > s.bounds[i-1]*5 {
				t.Errorf("%v follows %v, want 5/3 of it at most", bound, s.bounds[i-1])
			}
		}
		var all []time.Duration
		for _, bound := range s.bounds {
			all = append(all, bound-1, bound, bound+1)
		}
		for n := range 63 {
			all = append(all, 1<<n-1, 1<<n, 1<<n+1)
		}
		for _, d := range append(all, 0, -1, math.MaxInt64) {
			want := slices.IndexFunc(s.bounds, func(bound time.Duration) bool { return d <= bound })
			if want < 0 {
				want = len(s.bounds)
			}
			if got := s.bucket(d); got != want {
				t.Errorf("%v is in bucket %d of %v, want %d", d, got, s.bounds, want)
			}
		}
	}
}

// told is a collector of one metric.
type told struct{ prometheus.Metric }

func (c told) Describe(out chan<- *prometheus.Desc) { out <- c.Desc() }
func (c told) Collect(out chan<- prometheus.Metric) { out <- c.Metric }

func TestHistogramMetric(t *testing.T) {
	s := NewScale(time.Millisecond, 3*time.Millisecond)
	var a, b Histogram
	a.Observe(s, time.Millisecond, 2)
	b.Observe(s, 1200*time.Microsecond, 1)
	b.Observe(s, time.Second, 1)
	a.Add(&b)
	registry := prometheus.NewRegistry()
	registry.MustRegister(told{a.Metric(prometheus.NewDesc("d", "", []string{"pool"}, nil), s, "web")})
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := all[0].Metric[0].Histogram
	var below []uint64
	for _, bucket := range h.Bucket {
		below = append(below, bucket.GetCumulativeCount())
	}
	if h.GetSampleCount() != 4 || a.Sum() != 1003200*time.Microsecond || h.GetSampleSum() != a.Sum().Seconds() || !slices.Equal(below, []uint64{2, 3, 3, 3}) || h.Bucket[1].GetUpperBound() != .0015 {
		t.Errorf("told as %v", h)
	}
}

func BenchmarkObserve(b *testing.B) {
	s, h, d := NewScale(time.Microsecond, time.Minute), new(Histogram), time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		d = (d + 7919) & (1<<27 - 1)
		h.Observe(s, d, 1)
	}
}
