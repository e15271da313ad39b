package balance

import (
	"testing"
	"time"
)

// Of how many requests a server is known to refuse more, and for how long it is not tried with more.
func TestWhatRefusalsSay(t *testing.T) {
	for _, c := range []struct {
		r    refusing
		most int32
		wait time.Duration
	}{
		{refusing{}, noCap, firstRefusalTrial},
		{refusing{from: 5, rows: sureRefusals - 1}, noCap, firstRefusalTrial},
		{refusing{from: 5, rows: sureRefusals}, 4, firstRefusalTrial},
		{refusing{from: 2, rows: sureRefusals}, 1, firstRefusalTrial},
		{refusing{from: 1, rows: sureRefusals}, noCap, firstRefusalTrial}, // a server that refuses one alone refuses for another reason
		{refusing{from: 5, rows: sureRefusals + 1}, 4, 2 * firstRefusalTrial},
		{refusing{from: 5, rows: sureRefusals + 3}, 4, 8 * firstRefusalTrial},
	} {
		if most, wait := c.r.most(), c.r.length(); most != c.most || wait != c.wait {
			t.Errorf("%+v: at most %d, tried again after %v; want %d and %v", c.r, most, wait, c.most, c.wait)
		}
	}
}

func TestWhichOutcomesAreRefusals(t *testing.T) {
	for _, c := range []struct {
		o    Outcome
		want bool
	}{
		{Outcome{Result: Full, Status: 503}, true}, {Outcome{Result: Fault, Status: 503}, true},
		{Outcome{Result: Full, Status: 429}, false}, {Outcome{Result: Fault, Status: 500}, false}, {Outcome{Result: OK, Status: 503}, false}, {Outcome{Result: Broken}, false},
	} {
		if got := c.o.isRefusal(); got != c.want {
			t.Errorf("%s with status %d is a refusal: %t, want %t", c.o.Result, c.o.Status, got, c.want)
		}
	}
}

// A server that serves 3 at a time and refuses more by status 503 is kept to 3. Once in a while it is tried with one more, which it keeps if it
// serves it.
func TestAServerIsKeptToWhatItTakes(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100}, "a", "b")
	s := w.p.byID["a"]
	crowd := func(n int, o Outcome) {
		t.Helper()
		var ids []LeaseID
		for range n {
			g, err := w.p.Pick(w.now, &Request{Edge: "e", Exclude: []ServerID{"b"}})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, g.Lease)
		}
		w.now = w.now.Add(10 * time.Millisecond)
		w.p.Done(w.now, ids[n-1], o)
		for _, id := range ids[:n-1] {
			w.p.Done(w.now, id, Outcome{Result: Canceled})
		}
	}
	refusal := Outcome{Result: Fault, Status: 503}
	for range 10 {
		crowd(3, fine)
	}
	if crowd(3, refusal); s.cap != noCap {
		t.Fatalf("kept to %d after one refusal of as many as it serves", s.cap)
	}
	w.end("e", "a", 1, refusal)
	if s.full != nil && s.full.refusing.from != 0 {
		t.Fatalf("a refusal of one request alone is counted: %+v", s.full.refusing)
	}
	for range 5 {
		crowd(3, fine)
	}
	success := s.Success()
	if crowd(4, refusal); s.cap != 3 {
		t.Fatalf("kept to %d after it refused the fourth, without a time, want 3", s.cap)
	}
	if s.Success() < success || s.health.inRow != 0 {
		t.Errorf("a server that is full counts as failing: %+v", s.health)
	}
	until := s.full.refusing.until
	if got := until.Sub(w.now); got != firstRefusalTrial {
		t.Errorf("it is tried after %v, want %v", got, firstRefusalTrial)
	}
	w.p.tryMore(until-1, s)
	if s.cap != 3 {
		t.Errorf("tried with %d before its time", s.cap)
	}
	w.now = until
	if w.p.tryMore(w.now, s); s.cap != 4 {
		t.Fatalf("kept to %d when it is to be tried, want 4", s.cap)
	}
	if crowd(4, fine); s.cap != noCap && s.cap < 4 {
		t.Errorf("kept to %d after it served 4, want 4 at least", s.cap)
	}
	if from := s.full.refusing.from; from != 5 {
		t.Errorf("it is taken to refuse %d, want 5, as it has served 4", from)
	}
	w.now = w.now.Add(refusalMemory + 1)
	if w.p.tryMore(w.now, s); s.cap != noCap || s.full.refusing != (refusing{}) {
		t.Errorf("kept to %d ten minutes after its last refusal, want that it is forgotten", s.cap)
	}
}

// Only a refusal of fewer, or as many, moves the number; several that say the same make the next trial come later.
func TestRefusalsOfMoreSayNothingNew(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	s := w.p.byID["a"]
	s.okCrowd = 2
	refuse := func(crowd float32, o Outcome) { w.p.refusesMore(w.now, s, &lease{crowd: crowd}, &o) }
	says := Outcome{Result: Full, Status: 503}
	for _, step := range []struct {
		crowd      float32
		o          Outcome
		from, rows int
	}{
		{6, says, 6, 1}, {8, says, 6, 1}, {6, says, 6, 2}, {5, says, 5, 3}, {5, says, 5, 4}, {7, Outcome{Result: Fault, Status: 503}, 5, 4},
		{5, says, 5, 5}, {5, says, 5, 6}, {5, says, 5, 7}, {5, says, 5, 8}, {5, says, 5, mostRefusals},
	} {
		refuse(step.crowd, step.o)
		if r := s.full.refusing; int(r.from) != step.from || int(r.rows) != step.rows {
			t.Fatalf("after a refusal of %v: from %d, %d times; want from %d, %d times", step.crowd, r.from, r.rows, step.from, step.rows)
		}
	}
	s.full = nil
	if refuse(4, Outcome{Result: Fault, Status: 503}); s.full.refusing.rows != sureRefusals {
		t.Errorf("one without a time counts %d times, want %d: nothing else says for how long the server is full", s.full.refusing.rows, sureRefusals)
	}
	s.full = nil
	if w.p.refusesMore(w.now, s, &lease{crowd: 2}, &says) || s.full != nil {
		t.Error("a refusal of as many as the server serves is counted")
	}
}

// Responses with status 429 teach a number only where three in a row come at more requests than the server serves, and none has come in the last
// ten minutes where it usually serves: such a one is meant for its client.
func TestWhatStatus429Teaches(t *testing.T) {
	const more, usual, alone, serves, at503 = 'm', 'u', 'a', 's', '5'
	for _, c := range []struct {
		name  string
		what  string        // in this order
		pause time.Duration // before the last three
		cap   int32
	}{
		{"two in a row", "mm", 0, noCap},
		{"three in a row", "mmm", 0, 3},
		{"one that is served between them", "mmsmm", 0, noCap},
		{"three after one that is served", "msmmm", 0, 4},
		{"one is served after them", "mmmms", 0, noCap},
		{"one where it usually serves, before", "ummm", 0, noCap},
		{"one alone, before", "ammm", 0, noCap},
		{"one where it usually serves, between them", "mmum", 0, noCap},
		{"one where it usually serves, after them", "mmmu", 0, noCap},
		{"one where it usually serves, long before", "ummm", refusalMemory + 1, 3},
		{"one where it usually serves, not so long before", "ummm", refusalMemory - time.Second, noCap},
		{"what 503 has taught stays", "555u", 0, 3},
		{"what 503 has taught stays, whatever comes then", "555mu", 0, 3},
		{"503 after two", "mm5", 0, 3},
		{"503 after two, for all", "mm5u", 0, 3},
	} {
		w := newWard(t, Config{}, "a", "b")
		s := w.p.byID["a"]
		s.okCrowd = 3
		for i, what := range c.what {
			if len(c.what)-i == 3 {
				w.now = w.now.Add(c.pause)
			}
			w.now++
			l, o := &lease{crowd: 4, started: w.now}, Outcome{Result: Full, Status: 429}
			switch what {
			case usual:
				l.crowd = 2
			case alone:
				l.crowd = 1
			case at503:
				o.Status = 503
			case serves:
				w.p.takesMore(s, l)
				continue
			}
			if what == more && s.full != nil && s.full.refusing.from > 4 {
				l.crowd = 5 // it has served four
			}
			if w.p.refusesMore(w.now, s, l, &o) && (what == usual || what == alone) {
				t.Errorf("%s: a response that is meant for its client is taken as one for all", c.name)
			}
		}
		if s.cap != c.cap {
			t.Errorf("%s: kept to %d, want %d; %+v", c.name, s.cap, c.cap, s.full.refusing)
		}
	}
}

// What is meant for one client is so at all servers of the pool, which are alike.
func TestStatus429ForAClientCountsForThePool(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c")
	for i, id := range []ServerID{"a", "b"} {
		s := w.p.byID[id]
		s.okCrowd = 3
		for range 3 {
			w.p.refusesMore(w.now, s, &lease{crowd: 4}, &Outcome{Result: Full, Status: 429 + 74*i})
		}
		if s.cap != 3 {
			t.Fatalf("%s is kept to %d, want 3", id, s.cap)
		}
	}
	c := w.p.byID["c"]
	c.okCrowd = 3
	if w.p.refusesMore(w.now, c, &lease{crowd: 2}, &Outcome{Result: Full, Status: 429}); w.p.byID["a"].cap != noCap || w.p.byID["b"].cap != 3 {
		t.Errorf("kept to %d by 429 and %d by 503, want that only the former is forgotten", w.p.byID["a"].cap, w.p.byID["b"].cap)
	}
}
