package exchange

import (
	"log/slog"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Without a master, a server that could not be reached from here looks idle, and would be
// tried by every request: each would be a retry, and those are few.
func TestFallbackLeavesOutWhatCannotBeReached(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
	snap := &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "a", State: balance.Up}, {ID: "b", State: balance.Up}}}
	now := balance.Instant(time.Hour)
	chosen := func(now balance.Instant, exclude ...balance.ServerID) map[balance.ServerID]int {
		got := make(map[balance.ServerID]int)
		for range 200 {
			s, reason := p.fallback(now, snap, exclude, nil)
			if reason != "" {
				t.Fatalf("nothing was chosen: %s", reason)
			}
			got[s.ID]++
		}
		return got
	}
	if got := chosen(now); len(got) != 2 {
		t.Errorf("both can be had: chose %v", got)
	}
	p.noteUnreachable(now, "a")
	if got := chosen(now); got["a"] != 0 {
		t.Errorf("a could not be reached: chose %v", got)
	}
	if got := chosen(now, "b"); got["a"] != 200 {
		t.Errorf("b has failed this request, so a is all there is: chose %v", got)
	}
	if got := chosen(now.Add(avoidFor)); len(got) != 2 {
		t.Errorf("a while later: chose %v, want both again", got)
	}
}
