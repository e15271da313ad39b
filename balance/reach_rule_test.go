package balance

import (
	"testing"
	"time"
)

// Another edge's word counts as long as it reached the server lately, and has not failed since.
func TestWhetherOthersReachedTheServer(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	s := w.p.byID["a"]
	edges := []int32{w.p.edge("e0"), w.p.edge("e1"), w.p.edge("e2"), w.p.edge("e3"), w.p.edge("e4")}
	if s.reaches.others(w.now, edges[0]) {
		t.Error("others have reached a server that none has")
	}
	w.p.reached(w.now, s, edges[0])
	if s.reaches.others(w.now, edges[0]) {
		t.Error("an edge's own word counts for itself")
	}
	if s.reaches.others(w.now, edges[1]) {
		t.Error("an edge's word counts though it has failed since")
	}
	w.p.reached(w.now, s, edges[0])
	if at := w.now.Add(triedLately); !s.reaches.others(at, edges[1]) || s.reaches.others(at+1, edges[1]) {
		t.Errorf("another's word does not count for %v, or longer", triedLately)
	}
	for i, e := range edges {
		w.p.reached(w.now+Instant(i), s, e)
	}
	for i, r := range s.reaches { // the newest first
		if want := edges[len(edges)-1-i]; r.edge != want {
			t.Errorf("in place %d edge %d, want %d", i, r.edge, want)
		}
	}
	w.p.reached(w.now+9, s, edges[2])
	if s.reaches[0].edge != edges[2] || s.reaches[1].edge != edges[4] || s.reaches[2].edge != edges[3] || s.reaches[3].edge != edges[1] || s.reaches[0].at != w.now+9 {
		t.Errorf("after another word of e2: %+v", s.reaches)
	}
}

// What it takes to find out that a server cannot be reached is a small part of the time for which it is left out.
func TestHowLongAServerIsLeftOut(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		0: quickExclusion, quickExclusion / exclusionTimes: quickExclusion, 200 * time.Millisecond: 4 * time.Second, time.Second: longestExclusion, time.Hour: longestExclusion,
	} {
		if got := longestOut(after); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
}

// An edge's exclusions end with an answer, when the edge leaves, and when they were not tried for long; each is counted once.
func TestExclusionsEnd(t *testing.T) {
	count := func(w *ward, servers, unreached int) {
		t.Helper()
		if a := w.p.byID["a"]; w.p.exclusions != servers || int(a.unreached) != unreached {
			t.Errorf("%d exclusions, and %d edges do not reach a; want %d and %d", w.p.exclusions, a.unreached, servers, unreached)
		}
		if err := w.p.Check(); err != nil {
			t.Error(err)
		}
	}
	begin := func() *ward {
		w := newWard(t, Config{}, "a", "b", "c")
		for _, id := range []ServerID{"a", "b"} {
			w.end("good", id, 1, fine)
			w.end("e", id, 1, unreachable)
			w.end("f", id, 1, unreachable)
		}
		count(w, 4, 2)
		return w
	}
	w := begin()
	w.now = w.p.edges[w.p.edgeNo["f"]].beyond.until
	w.end("e", "a", 1, fine)
	count(w, 3, 1)
	w.end("e", "b", 1, fine)
	if count(w, 2, 1); w.p.edges[w.p.edgeNo["e"]].beyond != nil {
		t.Error("an edge that reaches all has exclusions")
	}
	w.p.Left(w.now, "f")
	count(w, 0, 0)

	w = begin()
	until := w.p.edges[w.p.edgeNo["f"]].beyond.until
	w.p.fadeExclusions(until.Add(exclusionMemory) - 1)
	if w.p.edges[w.p.edgeNo["f"]].beyond == nil {
		t.Error("exclusions are forgotten before their time")
	}
	w.p.fadeExclusions(until.Add(exclusionMemory))
	count(w, 0, 0)

	w = begin()
	for _, id := range []ServerID{"a", "b"} {
		w.p.Unname(w.now, id)
	}
	if w.p.exclusions != 0 {
		t.Errorf("%d exclusions of servers that have gone", w.p.exclusions)
	}
}

// An edge that is excluded for a server now, and no longer.
func TestWhatAnEdgeDoesNotReachNow(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.end("good", "a", 1, fine)
	w.end("e", "a", 1, unreachable)
	a, b := w.p.byID["a"], w.p.byID["b"]
	until := w.p.edges[w.p.edgeNo["e"]].beyond.until
	if x := w.p.beyond(until-1, "e"); !x.has(until-1, a) || x.has(until-1, b) {
		t.Error("before its time is over the edge reaches a, or it does not reach b")
	}
	if w.p.beyond(until, "e") != nil || w.p.beyond(until-1, "good") != nil {
		t.Error("the edge is kept from servers when its time is over, or another is")
	}
	var none *beyond
	if none.has(until, a) {
		t.Error("what is beyond nothing has a server")
	}
}
