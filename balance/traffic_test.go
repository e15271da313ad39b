package balance

import (
	"math"
	"testing"
	"time"
)

func TestTrafficTellsRateAndQuantiles(t *testing.T) {
	var tr traffic
	now := Instant(1)
	for i := range 6000 { // a minute at 100 requests a second: 1 to 100 ms in turn, one in ten failed
		now = now.Add(10 * time.Millisecond)
		tr.add(now, i%10 == 0, time.Duration(1+i%100)*time.Millisecond)
	}
	v := tr.view(now)
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"rate", v.Rate, 100}, {"failures", v.Failures, .1},
		{"p50 in ms", float64(v.P50.Milliseconds()), 50}, {"p99 in ms", float64(v.P99.Milliseconds()), 99},
	} {
		if math.Abs(c.got/c.want-1) > .1 {
			t.Errorf("%s: %v, want %v within a tenth", c.what, c.got, c.want)
		}
	}
	for range 12 { // two minutes at another speed
		for range 100 {
			now = now.Add(100 * time.Millisecond)
			tr.add(now, false, time.Second)
		}
	}
	if v = tr.view(now); math.Abs(v.Rate-10) > 1 || v.P50 < 900*time.Millisecond || v.Failures > .01 {
		t.Errorf("two minutes later: %+v, want 10 a second, p50 of a second, no failures", v)
	}
}

func TestTrafficForgets(t *testing.T) {
	var tr traffic
	now := Instant(1)
	for range 1000 {
		now = now.Add(time.Millisecond)
		tr.add(now, false, time.Millisecond)
	}
	before := tr.view(now).Rate
	if v := tr.view(now.Add(2 * time.Minute)); v.Rate > before/100 {
		t.Errorf("the rate was %v, and two minutes without a request later it is %v", before, v.Rate)
	}
	if v := tr.view(now.Add(24 * time.Hour)); v.Rate != 0 || v.Measured {
		t.Errorf("a day later: %+v, want nothing", v)
	}
}

// A weight that doubles every ten seconds must not grow without end.
func TestTrafficLivesLong(t *testing.T) {
	var tr traffic
	now := Instant(1)
	for range 24 * 360 { // a day
		now = now.Add(trafficHalfLife)
		tr.add(now, false, 8*time.Millisecond)
	}
	v := tr.view(now.Add(trafficHalfLife / 2))
	if math.Abs(v.Rate-.1) > .05 || v.P99 < 7*time.Millisecond || v.P99 > 10*time.Millisecond {
		t.Errorf("after a day of a request every ten seconds: %+v", v)
	}
}

func TestLatencyBuckets(t *testing.T) {
	for i := range latencyBuckets {
		if got := latencyBucket(latencyBound(i)); got != i {
			t.Errorf("the shortest latency of bucket %d, %v, counts in %d", i, latencyBound(i), got)
		}
		if i > 0 {
			if got := latencyBucket(latencyBound(i) - 1); got != i-1 {
				t.Errorf("just below bucket %d, %v counts in %d", i, latencyBound(i)-1, got)
			}
		}
	}
	if got := latencyBucket(10 * time.Hour); got != latencyBuckets-1 {
		t.Errorf("ten hours count in bucket %d, want the last", got)
	}
}

func TestNoTraffic(t *testing.T) {
	var none *traffic
	if v := none.view(5); v != (Traffic{}) {
		t.Errorf("got %+v", v)
	}
}

// Two answers at once are not a thousand a second.
func TestTheRateOfAServerIsNotMadeOfAnInstant(t *testing.T) {
	var tr traffic
	now := Instant(time.Hour)
	tr.add(now, false, time.Millisecond)
	if v := tr.view(now.Add(2 * time.Millisecond)); v.Rate != 1 {
		t.Errorf("%v requests a second after one, want 1", v.Rate)
	}
	if v := tr.view(now.Add(5 * time.Second)); math.Abs(v.Rate-.2) > .01 {
		t.Errorf("%v requests a second after one in 5 s, want .2", v.Rate)
	}
}
