package histogram

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"
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

func TestCumulative(t *testing.T) {
	s := NewScale(time.Millisecond, 3*time.Millisecond)
	var a, b Histogram
	a.Observe(s, time.Millisecond, 2)
	b.Observe(s, 1200*time.Microsecond, 1)
	b.Observe(s, time.Second, 1)
	a.Add(&b)
	count, sum, buckets := a.Cumulative(s)
	if count != 4 || a.Count() != 4 || a.Sum() != 1003200*time.Microsecond || sum != a.Sum().Seconds() || !maps.Equal(buckets, map[float64]uint64{.001: 2, .0015: 3, .002: 3, .003: 3}) {
		t.Errorf("%d durations, %v in all, %v", count, sum, buckets)
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
