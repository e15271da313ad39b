package sim

import (
	"testing"
	"time"
)

// Edges that are far from the master choose by themselves: else each request would take an ask more. The pool is told
// of all of them.
func TestFarEdgesChoose(t *testing.T) {
	s := odd()
	s.Requests, s.Work.Mean, s.Warmup = 20_000, 20*time.Millisecond, .25
	near := Run(s, "least-load", 1)
	s.Ask = 100 * time.Millisecond
	far := Run(s, "least-load", 1)
	if far.Mean > 3*near.Mean || far.Mean < near.Mean {
		t.Errorf("mean %.4f, want a little more than %.4f without a trip, and much less than the trip of .1", far.Mean, near.Mean)
	}
	s.Ask = 5 * time.Millisecond // a quarter of the work, at a load where asking wins more
	s.Load, s.Edges, s.Servers.Count, s.Servers.Kinds = .9, 16, 16, []Kind{{Slots: 1}}
	w := newWorld(ptr(s.WithDefaults()), 1)
	w.choosing("least-load", 1)
	w.run()
	if w.ownLeases > 2000 {
		t.Errorf("edges chose for %d of 20,000 requests, want nearly none where asking wins more than it costs", w.ownLeases)
	}
}

func ptr[T any](v T) *T { return &v }
