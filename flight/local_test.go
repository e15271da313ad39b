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
	asks := 0
	for range 1000 { // a second
		now = now.Add(time.Millisecond)
		if !l.Chooses(now, from) {
			asks++
			l.Asked(now, from, from)
		}
	}
	if asks != 3 && asks != 4 { // one in a quarter of a second
		t.Errorf("%d of 1,000 requests in a second asked, want 3 or 4", asks)
	}
	asks = 0
	for range 330 { // one in ten seconds
		now = now.Add(10 * time.Second)
		if !l.Chooses(now, from) {
			asks++
			l.Asked(now, from, from)
		}
	}
	if asks != 10 {
		t.Errorf("%d of 330 rare requests asked, want 10", asks)
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
