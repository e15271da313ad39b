package trial

import (
	"math/bits"
	"time"
)

// Times counts durations in buckets, 32 to each power of two, so that a quantile is
// right within 3 %.
type Times struct {
	Counts []uint64 // by bucket; shorter if the rest is zero
}

const fine = 5 // bits of a duration that are kept below its highest

func bucket(ns uint64) int {
	high := bits.Len64(ns)
	if high <= fine+1 {
		return int(ns)
	}
	shift := high - fine - 1
	return shift<<fine + int(ns>>shift)
}

// floor is the least duration of a bucket.
func floor(b int) time.Duration {
	if b < 2<<fine {
		return time.Duration(b)
	}
	shift := b>>fine - 1
	return time.Duration(b&(1<<fine-1)|1<<fine) << shift
}

// Add counts a duration.
func (t *Times) Add(d time.Duration) {
	b := bucket(uint64(max(0, d)))
	for b >= len(t.Counts) {
		t.Counts = append(t.Counts, make([]uint64, b+1-len(t.Counts))...)
	}
	t.Counts[b]++
}

// Merge adds what another has counted.
func (t *Times) Merge(other *Times) {
	if n := len(other.Counts) - len(t.Counts); n > 0 {
		t.Counts = append(t.Counts, make([]uint64, n)...)
	}
	for i, n := range other.Counts {
		t.Counts[i] += n
	}
}

// Quantile returns the duration that a share q of those counted do not exceed; zero if
// none is.
func (t *Times) Quantile(q float64) time.Duration {
	var all, seen uint64
	for _, n := range t.Counts {
		all += n
	}
	want := uint64(q * float64(all))
	for b, n := range t.Counts {
		if seen += n; seen > want || seen == all && n > 0 {
			return (floor(b) + floor(b+1)) / 2
		}
	}
	return 0
}
