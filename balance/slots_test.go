package balance

import (
	"math"
	"testing"
	"time"
)

// Each level stands for a number of requests that is on that level, and no number is on a lower level than a smaller one.
func TestLevelsOfRequests(t *testing.T) {
	for l := range levels {
		if got := level(present[l]); got != l {
			t.Errorf("%v requests, for which level %d stands, are on level %d", present[l], l, got)
		}
	}
	last := 0
	for n := -1.; n < 1e4; n += .25 {
		l := level(n)
		if l < last {
			t.Fatalf("%v requests are on level %d, and fewer on level %d", n, l, last)
		}
		if n >= 0 && n <= present[levels-1] && math.Abs(present[l]-n) > max(.5, .2*n) {
			t.Errorf("%v requests are on level %d, which stands for %v", n, l, present[l])
		}
		last = l
	}
}

// c is where the time for which each number of requests was present makes up the utilisation that was reported.
func TestSlotsThatAUtilizationTells(t *testing.T) {
	type at struct{ requests, seconds float64 }
	for _, c := range []struct {
		name  string
		times []at
		busy  float64 // seconds
		want  float64 // zero: nothing is told
	}{
		{"always two", []at{{2, 10}}, 5, 4},
		{"one and six", []at{{1, 5}, {6, 5}}, 5./4 + 5, 4},
		{"idle half of the time", []at{{0, 10}, {3, 10}}, 5, 6},
		{"many", []at{{4, 10}, {16, 10}, {32, 10}}, 10*4./24 + 10*16./24 + 10, 24},
		{"one that keeps its server half busy", []at{{1, 10}}, 5, 2},
		{"one that keeps it nearly busy", []at{{1, 10}}, 8, 1 / .8},
		{"less than one slot", []at{{0, 10}, {1, 10}}, 15, 1},
		{"too short", []at{{2, slotsEnough / 2}}, slotsEnough / 4, 0},
		{"busy all the time", []at{{4, 10}}, 10, 0},
		{"hardly busy", []at{{1, 10}}, leastBusy * 9, 0},
		{"hardly a request", []at{{0, 100}, {1, leastPresent * 90}}, 50, 0},
	} {
		var s slots
		most := 0.
		for _, a := range c.times {
			s.timeAt[level(a.requests)] += float32(a.seconds)
			most = max(most, a.requests)
		}
		s.busy = c.busy
		s.solve()
		if math.Abs(s.learnt-c.want) > .02*c.want {
			t.Errorf("%s: %v slots, want %v", c.name, s.learnt, c.want)
		}
		if c.want > 0 && math.Abs(s.most-most) > .2*most {
			t.Errorf("%s: worked out from at most %v requests, want %v", c.name, s.most, most)
		}
	}
}

// spend has n requests present for a time, and then a report of a utilisation, its window as told.
func (s *slots) spend(n, seconds, utilization float64, over, usual time.Duration) {
	s.stay(n, seconds)
	s.reported(utilization, over, usual)
}

func TestReportsOfUtilization(t *testing.T) {
	const usual = 100 * time.Millisecond
	t.Run("each counts for as long as the last was ago", func(t *testing.T) {
		var s slots
		for range 50 {
			s.spend(2, .1, .5, 0, usual)
		}
		if math.Abs(s.learnt-4) > .05 {
			t.Errorf("%v slots, want 4", s.learnt)
		}
	})
	t.Run("those that come fast are taken together", func(t *testing.T) {
		var s slots
		for i := range 500 {
			s.spend(2, .01, float64(i%2), 0, 10*time.Millisecond) // a half on average
		}
		if math.Abs(s.learnt-4) > .3 {
			t.Errorf("%v slots, want 4", s.learnt)
		}
	})
	t.Run("where windows overlap each is counted once", func(t *testing.T) {
		var s slots
		for range 500 {
			s.spend(2, .01, .5, 200*time.Millisecond, 10*time.Millisecond)
		}
		if math.Abs(s.learnt-4) > .3 {
			t.Errorf("%v slots, want 4", s.learnt)
		}
		if s.current[2] > .2 {
			t.Errorf("%v s are not accounted for, want less than a window", s.current[2])
		}
	})
	t.Run("an overdue one says nothing of the time without", func(t *testing.T) {
		var s slots
		for range 50 {
			s.spend(2, .1, .5, 0, usual)
		}
		before := s
		s.spend(0, 10, 1, 0, usual)
		if s.timeAt != before.timeAt || s.busy != before.busy || s.learnt != before.learnt {
			t.Error("what came ten seconds late is believed for all of them")
		}
		if s.spend(2, .1, .5, 0, usual); s.timeAt[0] > before.timeAt[0] {
			t.Error("the time before an overdue report is counted with the next")
		}
	})
	t.Run("unless its window covers that time", func(t *testing.T) {
		var s slots
		s.spend(2, 10, .5, 11*time.Second, usual)
		if math.Abs(s.learnt-4) > .05 {
			t.Errorf("%v slots of a window of eleven seconds, want 4", s.learnt)
		}
	})
	t.Run("one absurd figure is bounded", func(t *testing.T) {
		var s slots
		s.spend(2, 1, 1e9, 0, time.Second)
		if s.busy > mostUtilization {
			t.Errorf("busy for %v s of 1", s.busy)
		}
	})
	t.Run("old ones fade", func(t *testing.T) {
		var s slots
		for range 50 {
			s.spend(2, .1, .5, 0, usual)
		}
		for range 1000 {
			s.spend(2, .1, .25, 0, usual)
		}
		if math.Abs(s.learnt-8) > .2 {
			t.Errorf("%v slots after 100 s at a quarter, want 8", s.learnt)
		}
	})
}

func TestWhenAReportIsOverdue(t *testing.T) {
	for _, c := range []struct {
		gap, usual time.Duration
		want       bool
	}{
		{leastGap, time.Millisecond, false}, {leastGap + 1, time.Millisecond, true},
		{missedReports * time.Second, time.Second, false}, {missedReports*time.Second + 1, time.Second, true},
	} {
		if got := overdue(c.gap, c.usual); got != c.want {
			t.Errorf("%v after the last, where %v are usual: overdue %t, want %t", c.gap, c.usual, got, c.want)
		}
	}
}
