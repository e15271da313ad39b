package balance

import (
	"testing"
	"time"
)

// A request that asks for labels may go to servers alone that carry all of them, also where an edge chooses.
func TestASnapshotOfTheServersThatCarryLabels(t *testing.T) {
	p := New(Config{Name: "web", Canary: Canary{Labels: []Label{{Key: "version", Value: "2"}}, Part: .5}}, ByScore{byLeases{}}, 1)
	now := Instant(time.Hour)
	for id, labels := range map[ServerID][]Label{"a": nil, "b": {{"gpu", "yes"}}, "c": {{"version", "2"}, {"gpu", "yes"}}} {
		if err := p.Put(now, ServerSpec{ID: id, Address: string(id) + ":1", Labels: labels}, false); err != nil {
			t.Fatal(err)
		}
	}
	whole := p.Snapshot(now)
	for _, c := range []struct {
		labels []Label
		want   int
		canary float64
	}{{nil, 3, .5}, {[]Label{{"gpu", "yes"}}, 2, 0}, {[]Label{{"gpu", "yes"}, {"version", "2"}}, 1, 0}, {[]Label{{"gpu", "no"}}, 0, 0}} {
		if s := whole.Carrying(c.labels); len(s.Servers) != c.want || s.Canary != c.canary {
			t.Errorf("with %v: %d servers and a canary's part of %v, want %d and %v", c.labels, len(s.Servers), s.Canary, c.want, c.canary)
		}
	}
	if len(whole.Servers) != 3 || whole.Canary != .5 {
		t.Errorf("the snapshot itself has changed: %+v", whole)
	}
	if (*Snapshot)(nil).Carrying([]Label{{"gpu", "yes"}}) != nil {
		t.Error("without a snapshot there is one")
	}
}
