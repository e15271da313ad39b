package trial

import (
	"testing"
	"time"
)

func TestBucketsFollowEachOther(t *testing.T) {
	last := -1
	for ns := range uint64(1 << 16) {
		b := bucket(ns)
		if b != last && b != last+1 {
			t.Fatalf("bucket(%d) = %d after %d", ns, b, last)
		}
		if low, next := uint64(floor(b)), uint64(floor(b+1)); ns < low || ns >= next {
			t.Fatalf("%d is in bucket %d of %d to %d", ns, b, low, next)
		}
		last = b
	}
}

func TestQuantilesAreWithinABucket(t *testing.T) {
	var a, b Times
	for i := 1; i <= 1000; i++ {
		of := &a
		if i%2 == 0 {
			of = &b
		}
		of.Add(time.Duration(i) * time.Microsecond)
	}
	a.Merge(&b)
	for q, want := range map[float64]time.Duration{.5: 500, .99: 990, .999: 999} {
		if got := a.Quantile(q); got < want*970 || got > want*1030 {
			t.Errorf("Quantile(%v) = %v, want %d µs within 3 %%", q, got, want)
		}
	}
	if (&Times{}).Quantile(.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
