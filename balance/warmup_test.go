package balance

import "testing"

// A server that was down proves itself by its answers; one that was ejected for them gets more by and by only.
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
