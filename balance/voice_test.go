package balance

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A count that does not move with our requests is not taken for others'. What others do to it does no harm, also where we give the server the fewer
// requests the more it has.
func TestCountsThatDoNotMoveWithOurRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	others, past := 0., make([]float64, 200)
	for _, c := range []struct {
		name         string
		count        func(i int, leases float64) float64
		lost, unsure bool
	}{
		{"ours alone", func(_ int, l float64) float64 { return l }, false, false},
		{"and some on their way", func(_ int, l float64) float64 { return max(0, l-float64(rng.IntN(2))) }, false, false},
		{"and others", func(_ int, l float64) float64 { return l + float64(rng.IntN(6)) }, false, false},
		{"and others who come to stay", func(i int, l float64) float64 { return l + 20*float64(i/100) }, false, false},
		{"others who leave as we come", func(_ int, l float64) float64 { return l + others }, false, false},
		{"fewer than ours", func(_ int, _ float64) float64 { return 1 }, false, true},
		{"random", func(int, float64) float64 { return float64(rng.IntN(12)) }, true, true},
		{"always the same", func(int, float64) float64 { return 8 }, true, true},
		{"of long ago", func(i int, _ float64) float64 { return past[max(0, i-50)] }, true, true},
	} {
		var v voice
		now, leases := Instant(0), 3.
		sample := func(count func(leases float64) float64) {
			leases = max(0, min(leases+float64(rng.IntN(9)-4), 8))
			others = max(0, others+(6-leases-others)/8+float64(rng.IntN(3)-1))
			now += sec
			v.report(now, count(leases), leases, .1)
		}
		for i := range past {
			sample(func(leases float64) float64 {
				past[i] = leases
				return c.count(i, leases)
			})
		}
		if v.lost != c.lost || v.unsure != c.unsure {
			t.Errorf("%s: its voice is lost: %v, unsure: %v; want %v, %v", c.name, v.lost, v.unsure, c.lost, c.unsure)
		}
		for range 1000 {
			sample(func(leases float64) float64 { return leases })
		}
		if v.lost || v.unsure {
			t.Errorf("%s: its voice is lost: %v, unsure: %v for good", c.name, v.lost, v.unsure)
		}
	}
}

// Nothing is said of a count before our requests have moved, and reports that come within the time of a request are taken as one.
func TestWhenCountsAreJudged(t *testing.T) {
	for _, c := range []struct {
		name  string
		moves float64
		every time.Duration
		lost  bool
	}{
		{"our requests move", 2, time.Second, true},
		{"they do not", 0, time.Second, false},
		{"they hardly do", .2, time.Second, false},
		{"all within one request", 2, time.Millisecond, false},
	} {
		var v voice
		now := sec
		for i := range 100 {
			v.report(now, 8, c.moves*float64(i%2), 10)
			now = now.Add(10 * c.every)
		}
		if v.lost != c.lost {
			t.Errorf("%s: its voice is lost: %v, want %v", c.name, v.lost, c.lost)
		}
	}
}

// A single crowd of ours that comes between two counts, which miss it, says nothing of them: others' requests are still seen.
func TestOneCrowdSaysNothingOfCounts(t *testing.T) {
	var v voice
	now := Instant(0)
	report := func(count, leases float64) {
		now += sec
		v.report(now, count, leases, .1)
	}
	for i := range 60 {
		switch i {
		case 10, 11, 30:
			report(0, 7)
		default:
			report(0, 0)
		}
	}
	for range 40 {
		report(8, 0)
	}
	if v.lost || v.unsure {
		t.Errorf("after two crowds the voice is lost: %v, unsure: %v", v.lost, v.unsure)
	}
	for i := range 40 { // many crowds that it does not see
		report(8, float64(7*(i%2)))
	}
	if !v.lost {
		t.Error("a count that never sees our requests keeps its voice")
	}
}

// Of a count that has lost its voice nothing is used, and people are told.
func TestALostVoiceIsNotHeard(t *testing.T) {
	p, s := limits(t, Config{}, 0)
	for i := range 200 {
		now := sec.Add(time.Duration(i) * time.Second)
		s.leases = int32(i % 3)
		s.settle(now)
		if err := p.Report(now, &Report{Server: s.spec.ID, Metrics: []Metric{{InFlight, 5}, {ApplicationUtilization, .5}}}); err != nil && !s.voice.lost {
			t.Fatal(err)
		}
		if i == 10 && s.load.x < 1 {
			t.Errorf("x is %v while nothing speaks against 5 requests", s.load.x)
		}
	}
	told := s.toldSlots()
	if d := s.Doubt(); s.load.x > .01 || told != 0 || s.slots.learnt == 0 || d.What != DoubtedVoice || !strings.Contains(d.String(), "5 recently") {
		t.Errorf("x is %v, %v slots of %v are taken, doubt %d %q; want nothing to be taken from the reports, and to hear of it", s.load.x, told, s.slots.learnt, d.What, d)
	}
}
