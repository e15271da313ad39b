// Package histogram counts durations in buckets that are fine enough for a 99th percentile, in constant time and without allocating.
package histogram

import (
	"math/bits"
	"time"
)

// Scale is the upper bounds of a histogram's buckets. It does not change once it is made.
type Scale struct {
	bounds  []time.Duration
	seconds []float64 // the bounds in seconds
	first   [65]uint8 // by the bits of a duration, the first bucket that may take it
}

// steps are the bounds in a decade, in tenths: each is at most 5/3 of the one before, and people can ask for round figures.
var steps = [...]time.Duration{10, 15, 20, 30, 50, 70}

// most is how many bounds a Scale may have.
const most = 56

// NewScale returns the scale with all round bounds from a duration to another; from is a power of ten, at least 10 ns.
func NewScale(from, to time.Duration) *Scale {
	s := new(Scale)
	for decade := from; decade <= to; decade *= 10 {
		for _, step := range steps {
			if bound := decade * step / 10; bound <= to && len(s.bounds) < most {
				s.bounds, s.seconds = append(s.bounds, bound), append(s.seconds, bound.Seconds())
			}
		}
	}
	for n := range s.first {
		least := time.Duration(0) // of n bits
		if n > 0 {
			least = 1<<(n-1) - 1
		}
		i := 0
		for i < len(s.bounds) && s.bounds[i] < least {
			i++
		}
		s.first[n] = uint8(i)
	}
	return s
}

// bucket returns the index of the bucket that takes d.
func (s *Scale) bucket(d time.Duration) int {
	i := int(s.first[bits.Len64(uint64(max(d, 0)))])
	for i < len(s.bounds) && d > s.bounds[i] {
		i++
	}
	return i
}

// Histogram counts durations by a Scale, always the same one. The zero value is empty. It is not safe for concurrent use.
type Histogram struct {
	counts [most + 1]uint64 // the last one in use: beyond all bounds
	sum    time.Duration
}

// Observe counts a duration n times.
func (h *Histogram) Observe(s *Scale, d time.Duration, n int) {
	h.counts[s.bucket(d)] += uint64(n)
	h.sum += d * time.Duration(n)
}

// Add adds the counts of another histogram of the same scale.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.sum += other.sum
}

// Count returns how many durations there are.
func (h *Histogram) Count() (n uint64) {
	for _, count := range h.counts {
		n += count
	}
	return n
}

// Sum returns the sum of all durations.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Cumulative returns the count, the sum in seconds, and the counts by upper bound in seconds, as Prometheus has a histogram.
func (h *Histogram) Cumulative(s *Scale) (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(s.seconds))
	for i, bound := range s.seconds {
		count += h.counts[i]
		buckets[bound] = count
	}
	return h.Count(), h.sum.Seconds(), buckets
}
