package balance

import (
	"math"
	"testing"
	"time"
)

// The most requests of others that a server may have, by how fast it answers: of a figure that is worked out three times its slots,
// of a count as many as are told; and where answers were as slow as k times, k times what is there.
func TestHowManyOthersThereMayBe(t *testing.T) {
	slower := func(times float64) strain {
		return strain{mean: math.Log(times) - strainLikely*strainSpread/2, weight: 4, last: sec}
	}
	for _, c := range []struct {
		name    string
		counted bool
		leases  int32
		learnt  bool
		strain  strain
		want    float64
	}{
		{"nothing is learnt", false, 0, false, slower(1), mostForeign * 4},
		{"nothing is learnt, counted", true, 0, false, slower(1), mostCounted},
		{"no answer of late", false, 0, true, strain{}, mostForeign * 4},
		{"as fast as alone", false, 0, true, slower(1), 4},
		{"as fast as alone, beside two of ours", false, 2, true, slower(1), 2},
		{"as fast as alone, beside eight of ours", false, 8, true, slower(1), 0},
		{"twice as slow", false, 2, true, slower(2), 6},
		{"twice as slow, counted", true, 2, true, slower(2), 4*2*countedSlack - 2},
		{"ten times as slow", false, 2, true, slower(10), mostForeign * 4},
		{"faster than can be", false, 2, true, slower(.1), 0},
	} {
		p, s := limits(t, Config{}, 4)
		s.leases, s.counted, s.strain = c.leases, c.counted, c.strain
		if c.learnt {
			p.takes(10*time.Millisecond, time.Microsecond)
		}
		if got := s.possible(sec); math.Abs(got-c.want) > 1e-6*max(1, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What is only worked out is kept within the slots when these change, and what is counted is not.
func TestFiguresThatAreWorkedOutStayWithinTheSlots(t *testing.T) {
	for _, c := range []struct {
		x       float64
		counted bool
		want    float64
	}{{40, false, 12}, {40, true, 40}, {5, false, 5}, {-3, false, -3}} {
		_, s := limits(t, Config{}, 4)
		s.load.x, s.counted = c.x, c.counted
		if s.clamp(); s.load.x != c.want {
			t.Errorf("%v, counted %t: %v, want %v", c.x, c.counted, s.load.x, c.want)
		}
	}
}

// A server that is believed full is tried when none of our requests was there for a while, and less often while answers bear it out.
func TestWhenAFullServerIsTried(t *testing.T) {
	p, s := limits(t, Config{}, 4)
	s.load = external{x: 8, reported: sec, interval: time.Hour}
	s.touched(sec)
	if s.foreign(s.probe-1) != 8 || s.foreign(s.probe) != 0 || s.believed(s.probe) != 8 || s.probe != 2*sec {
		t.Errorf("tried at %v: before %v, then %v, told as %v; want 8 for a second, then none, told as 8", s.probe, s.foreign(s.probe-1), s.foreign(s.probe), s.believed(s.probe))
	}
	if s.leases = 1; s.foreign(s.probe) != 8 || s.believed(s.probe) != 9 {
		t.Errorf("with a request of ours there are %v others, and %v in all; want 8 and 9", s.foreign(s.probe), s.believed(s.probe))
	}
	for n := 1; n <= mostConfirms+2; n++ {
		s.confirm(sec)
		if s.touched(sec); s.probe.Sub(sec) != time.Second<<min(n, mostConfirms) {
			t.Errorf("after %d answers that bear it out it is tried in %v, want %v", n, s.probe.Sub(sec), time.Second<<min(n, mostConfirms))
		}
	}
	s.load.x = 3.9
	if s.confirm(sec); s.confirms != 0 {
		t.Error("a server that others do not fill is tried as seldom")
	}
	p.takes(time.Second, time.Microsecond)
	if s.touched(sec); s.probe.Sub(sec) != 10*time.Second {
		t.Errorf("where requests take a second it is tried in %v, want ten of them", s.probe.Sub(sec))
	}
}

// What figures count by their age: half with each second, or each time of a request where that is longer.
func TestFreshness(t *testing.T) {
	p, s := limits(t, Config{}, 4)
	for age, want := range map[time.Duration]float64{0: 1, time.Second: .5, 3 * time.Second: .125} {
		if got := s.freshness(age); !isNear(got, want) {
			t.Errorf("%v old: %v, want %v", age, got, want)
		}
	}
	p.takes(10*time.Second, time.Microsecond)
	if got := s.freshness(10 * time.Second); !isNear(got, .5) {
		t.Errorf("as old as a request takes: %v, want half", got)
	}
}
