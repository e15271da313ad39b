package balance

import (
	"math"
	"testing"
	"time"
)

// A server that was down proves itself by its answers; one that was ejected for them gets more only gradually.
func TestAnEjectedServerProvesNothingByAFewAnswers(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	s := w.p.byID["a"]
	warmth := func() float64 {
		w.end("e", "a", 20, fine)
		w.p.mean = 10
		return w.p.warmth(w.now, s)
	}
	w.end("e", "a", faultsInRow, fault)
	w.wantOut("a")
	w.now = s.health.ejectedUntil
	if got := warmth(); got > 2 {
		t.Errorf("after its ejection for faults it may have %.1f requests, want 2 at most", got)
	}
	for _, problem := range []string{"connection refused", ""} {
		if _, err := w.p.SetHealth(w.now, "a", ByMaster, problem); err != nil {
			t.Fatal(err)
		}
	}
	if got := warmth(); got < 20 {
		t.Errorf("after 20 answers since it was down it may have %.1f requests, want 20 at least", got)
	}
}

// A new server may have a tenth of what the others have at once and all of it after ten seconds, or one more than it has given good answers.
func TestWarmth(t *testing.T) {
	for _, c := range []struct {
		age    time.Duration
		proven int32
		want   float64
	}{
		{0, 0, 10}, {-time.Second, 0, 10}, {5 * time.Second, 0, 55}, {warmTime - 1, 0, 100}, {warmTime, 0, math.Inf(1)},
		{0, 8, 10}, {0, 9, 10}, {0, 30, 31}, {5 * time.Second, 30, 55},
	} {
		w := newWard(t, Config{}, "a")
		w.p.mean = 100
		s := w.p.byID["a"]
		s.warmFrom, s.proven = w.now.Add(-c.age), c.proven
		if got := w.p.warmth(w.now, s); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%v after it came, with %d good answers: %v requests, want %v", c.age, c.proven, got, c.want)
		}
	}
}

// What a server has answered to requests that it was given before it came back proves nothing, nor does anything while none warms up.
func TestWhatAnAnswerProves(t *testing.T) {
	w := newWard(t, Config{}, "a")
	s := w.p.byID["a"]
	if w.p.prove(w.now, s, w.now); s.proven != 0 {
		t.Error("a warm server has proven something")
	}
	w.p.warm(s, w.now)
	if w.p.prove(w.now, s, w.now-1); s.proven != 0 {
		t.Error("an answer to a request from before proves something")
	}
	if w.p.prove(w.now, s, w.now); s.proven != 1 {
		t.Errorf("one good answer has proven %d", s.proven)
	}
	if w.p.warm(s, w.now); s.proven != 0 {
		t.Error("what it had proven counts when it comes back again")
	}
}
