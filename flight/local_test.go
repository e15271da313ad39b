package flight

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// localAsks has an edge ask n times, each ask ending a hundredth of a second after the one before.
func localAsks(l *Local, now *balance.Instant, n int, took, from time.Duration) {
	for range n {
		*now = now.Add(10 * time.Millisecond)
		l.Asked(*now, took, from)
	}
}

func TestAnEdgeChoosesAfterSlowAsks(t *testing.T) {
	const from, slow, fast = 2 * time.Millisecond, 3 * time.Millisecond, time.Millisecond
	for _, c := range []struct {
		name string
		asks func(l *Local, now *balance.Instant)
		want bool
	}{
		{"none", func(*Local, *balance.Instant) {}, false},
		{"few", func(l *Local, now *balance.Instant) { localAsks(l, now, slowAsks-1, slow, from) }, false},
		{"enough, but at once", func(l *Local, now *balance.Instant) {
			for range 2 * slowAsks {
				l.Asked(*now, slow, from)
			}
		}, false},
		{"enough for long", func(l *Local, now *balance.Instant) { localAsks(l, now, 30, slow, from) }, true},
		{"exactly as slow", func(l *Local, now *balance.Instant) { localAsks(l, now, 30, from, from) }, true},
		{"one fast in between", func(l *Local, now *balance.Instant) {
			localAsks(l, now, 15, slow, from)
			localAsks(l, now, 1, fast, from)
			localAsks(l, now, 15, slow, from)
		}, false},
		{"where the master wants to be asked", func(l *Local, now *balance.Instant) { localAsks(l, now, 100, slow, 0) }, false},
		{"two fast ones later", func(l *Local, now *balance.Instant) {
			localAsks(l, now, 30, slow, from)
			localAsks(l, now, fastAsks-1, fast, from)
			localAsks(l, now, 1, slow, from)
			localAsks(l, now, fastAsks-1, fast, from)
			localAsks(l, now, 1, slow, from)
		}, true},
		{"three fast ones later", func(l *Local, now *balance.Instant) {
			localAsks(l, now, 30, slow, from)
			localAsks(l, now, fastAsks, fast, from)
		}, false},
		{"hardly faster ones later", func(l *Local, now *balance.Instant) {
			localAsks(l, now, 30, slow, from)
			localAsks(l, now, 10, from*8/10, from)
		}, true},
		{"stopped", func(l *Local, now *balance.Instant) {
			localAsks(l, now, 30, slow, from)
			l.Stop()
		}, false},
	} {
		var l Local
		now := balance.Instant(time.Hour)
		c.asks(&l, &now)
		if got := l.Chooses(now, from); got != c.want || l.On() != c.want {
			t.Errorf("%s: chooses %v, on %v, want %v", c.name, got, l.On(), c.want)
		}
	}
}

// One request in so many asks, and no more than one in so long; and the next ones too while the last ask was fast.
func TestAnEdgeThatChoosesTriesAsking(t *testing.T) {
	const from = 2 * time.Millisecond
	var l Local
	now := balance.Instant(time.Hour)
	localAsks(&l, &now, 30, from, from)
	for _, c := range []struct {
		requests int
		every    time.Duration
		asks     int
	}{
		{10 * (trialShare + 1), 10 * time.Millisecond, 10 * (trialShare + 1) / (int(rareEvery/(10*time.Millisecond)) + 1)}, // one in so many
		{20_000, 10 * time.Microsecond, 0}, // a fifth of a second: too soon
		{10 * (rareShare + 1), time.Second, 10},
	} {
		asks := 0
		l.tried, l.since = now, 0
		for range c.requests {
			now = now.Add(c.every)
			if !l.Chooses(now, from) {
				asks++
				l.Asked(now, from, from)
			}
		}
		if asks < c.asks-1 || asks > c.asks+1 || c.asks == 0 && asks > 0 {
			t.Errorf("of %d requests, one each %v, %d asked, want %d", c.requests, c.every, asks, c.asks)
		}
	}
	l.Asked(now, from/10, from)
	if l.Chooses(now, from) {
		t.Error("the request after a fast ask does not ask")
	}
	if l.Asked(now, from, from); !l.Chooses(now, from) {
		t.Error("the request after a slow ask asks")
	}
	if l.Chooses(now, 0) || l.On() {
		t.Error("chooses where the master wants to be asked")
	}
}
