package balance

import (
	"math"
	"testing"
	"time"
)

func isNear(got, want float64) bool { return math.Abs(got-want) <= 1e-9*max(1, math.Abs(want)) }

// What is known of others' requests counts in full until the next report is due, and half with every five that are missed.
func TestExternalLoadIsTrustedAsReportsCome(t *testing.T) {
	for _, c := range []struct {
		x               float64
		interval, after time.Duration
		want            float64
	}{
		{8, time.Second, 0, 8},
		{8, time.Second, time.Second, 8},
		{8, time.Second, 6 * time.Second, 4},
		{8, time.Second, 11 * time.Second, 2},
		{8, 100 * time.Millisecond, 600 * time.Millisecond, 4},
		{8, time.Millisecond, 51 * time.Millisecond, 4}, // reports with every answer: a moment without any says little
		{-8, time.Second, 0, 0},
		{-8, time.Second, 6 * time.Second, 0},
	} {
		e := external{x: c.x, reported: 100 * sec, interval: c.interval}
		if got := e.at(Instant(100 * sec).Add(c.after)); !isNear(got, c.want) {
			t.Errorf("%v, reported every %v: after %v it counts %v, want %v", c.x, c.interval, c.after, got, c.want)
		}
	}
}

func TestSamplesOfExternalLoad(t *testing.T) {
	var e external
	if e.usual() != firstInterval {
		t.Errorf("before any report %v are usual between two, want %v", e.usual(), firstInterval)
	}
	e.correct(sec, 10, .5)
	if !isNear(e.x, 5) || e.usual() != firstInterval {
		t.Errorf("the first sample, 10, half fresh: %v, every %v; want 5, every second", e.x, e.usual())
	}
	e.correct(2*sec, 10, 1)
	if !isNear(e.x, 6) {
		t.Errorf("a second sample of 10 makes 5 %v, want a fifth of the way, 6", e.x)
	}
	e.correct(3*sec, 11, .5)
	if !isNear(e.x, 6.5) {
		t.Errorf("a sample of 11, half fresh, makes 6 %v, want a tenth of the way, 6.5", e.x)
	}
	if e.usual() != time.Second {
		t.Errorf("%v are usual between reports that came each second", e.usual())
	}
	e.correct(5*sec, e.x*e.trust(5*sec), 1)
	if got, want := e.usual(), 1200*time.Millisecond; got != want {
		t.Errorf("after two seconds %v are usual, want %v", got, want)
	}
	e.correct(1005*sec, 0, 1)
	if got := e.usual(); got > 3*time.Second {
		t.Errorf("after a gap of 1000 s %v are usual, want that it counts as ten seconds at most", got)
	}
	if e.x > .01 {
		t.Errorf("%v requests are left after a gap of 1000 s", e.x)
	}
	e = external{}
	e.correct(sec, 0, 1)
	for i := range 100 {
		e.correct(Instant(2+i)*sec, float64(2*(i%2)-1), 1)
	}
	if math.Abs(e.x) > .2 {
		t.Errorf("samples that err to both sides leave %v requests, want next to none", e.x)
	}
}
