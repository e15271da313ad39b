package balance

import (
	"math"
	"math/bits"
	"time"
)

// traffic is what has become of a server's requests lately, for people: nothing is
// chosen by it. What happened counts half as much for every trafficHalfLife that has
// passed since.
//
// It never touches what it has counted: a new request weighs more instead, twice as much
// in each half-life as in the one before.
type traffic struct {
	epoch    Instant // when the present half-life began
	weight   float32 // of a request now
	lived    float64 // weighted seconds of all half-lives before the present one
	answers  float32 // weighted
	failures float32 // of these, by the server's fault
	counts   [latencyBuckets]float32
}

const (
	trafficHalfLife = 10 * time.Second
	heaviest        = 1 << 40 // weight at which all is scaled down; float32 holds far more
	forgotten       = 40      // half-lives after which nothing is left
)

// add counts a request that is over; latency is zero if it was not measured or says
// nothing of the server's speed.
func (t *traffic) add(now Instant, failed bool, latency time.Duration) {
	t.advance(now)
	t.answers += t.weight
	if failed {
		t.failures += t.weight
	}
	if latency > 0 {
		t.counts[latencyBucket(latency)] += t.weight
	}
}

// countEnd enters a request that is over.
func (s *Server) countEnd(now Instant, o Outcome) {
	if s.traffic == nil {
		if !o.saysSomething() {
			return
		}
		s.traffic = new(traffic)
	}
	s.traffic.count(now, o)
}

// saysSomething reports whether the end of a request says something of its server.
func (o *Outcome) saysSomething() bool { return o.Result != Canceled && o.Result != Expired }

// count enters a request that is over. One that its client gave up, or whose time ran
// out, says nothing of the server.
func (t *traffic) count(now Instant, o Outcome) {
	if !o.saysSomething() {
		return
	}
	latency := o.Duration
	if o.Result != OK {
		latency = 0
	}
	t.add(now, o.Result == Fault || o.Result == Broken || o.Result == Unreachable, latency)
}

func (t *traffic) advance(now Instant) {
	if t.weight == 0 {
		t.epoch, t.weight = now, 1
	}
	for past := 0; now.Sub(t.epoch) >= trafficHalfLife; past++ {
		if past == forgotten {
			*t = traffic{epoch: now, weight: 1}
			return
		}
		t.lived += float64(t.weight) * trafficHalfLife.Seconds()
		t.epoch = t.epoch.Add(trafficHalfLife)
		if t.weight *= 2; t.weight >= heaviest {
			t.scale()
		}
	}
}

func (t *traffic) scale() {
	t.lived /= float64(t.weight)
	t.answers /= t.weight
	t.failures /= t.weight
	for i := range t.counts {
		t.counts[i] /= t.weight
	}
	t.weight = 1
}

// Traffic is what has become of a server's requests in the last half minute or so.
type Traffic struct {
	Rate     float64 // requests that ended, a second; smoothed over that time
	Failures float64 // share of them that failed by the server's fault; 0 if there were none
	P50, P99 time.Duration
	Measured bool // there were answers of which P50 and P99 tell
}

// view returns t as people read it. A nil t has seen nothing.
func (t *traffic) view(now Instant) (v Traffic) {
	if t == nil {
		return v
	}
	t.advance(now)
	if lived := t.lived + float64(t.weight)*now.Sub(t.epoch).Seconds(); t.answers > 0 && lived > 0 {
		v.Rate = float64(t.answers) / max(lived, float64(t.weight)) // a second at least: two answers at once are not a thousand a second
		v.Failures = float64(t.failures / t.answers)
	}
	var sum float32
	for _, c := range t.counts {
		sum += c
	}
	v.Measured = sum > 0
	if v.Measured {
		v.P50, v.P99 = t.quantile(.5*sum), t.quantile(.99*sum)
	}
	return v
}

// quantile returns the latency that requests of a joint weight do not exceed.
func (t *traffic) quantile(weight float32) time.Duration {
	for i, c := range t.counts {
		if c >= weight && c > 0 {
			low, high := latencyBound(i), latencyBound(i+1)
			return low + time.Duration(float64(high-low)*float64(weight/c))
		}
		weight -= c
	}
	return latencyBound(latencyBuckets)
}

// Latencies are counted in buckets, four for each doubling, from shortestLatency to
// half an hour; what lies beyond counts in the first and the last.
const (
	latencyBuckets  = 96
	shortestLatency = 1 << 17 // nanoseconds
)

func latencyBucket(d time.Duration) int {
	n := uint64(max(d, shortestLatency))
	exponent := bits.Len64(n) - 1
	quarter := int(n>>(exponent-2)) & 3
	return min(4*(exponent-bits.Len64(shortestLatency)+1)+quarter, latencyBuckets-1)
}

// latencyBound is the shortest latency of a bucket.
func latencyBound(i int) time.Duration {
	if i == 0 {
		return 0
	}
	return time.Duration(math.Ldexp(shortestLatency*(1+float64(i%4)/4), i/4))
}
