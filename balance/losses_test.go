package balance

import (
	"fmt"
	"testing"
	"time"
)

// lost tells why a server did not get the requests of the last minute.
func (w *ward) lost(id ServerID) string {
	w.t.Helper()
	l, ok := w.p.Losses(w.now, id)
	if !ok {
		w.t.Fatalf("%s is not known", id)
	}
	text := fmt.Sprintf("%d of %d", l.Won, l.Placed)
	for _, loss := range l.Lost {
		text += fmt.Sprintf("; %d %s", loss.Count, loss.Why)
	}
	return text
}

func (w *ward) wantLost(id ServerID, want string) {
	w.t.Helper()
	if got := w.lost(id); got != want {
		w.t.Errorf("%s: got %q, want %q", id, got, want)
	}
}

// What a server did not get is put down to the state that it had, exactly where the state changes.
func TestWhyAServerGotNothing(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c")
	w.pass(15 * time.Second) // all are warm
	ask := func(n int) {
		for range n {
			w.end("e1", "b", 1, fine)
		}
	}
	ask(0)
	w.wantLost("a", "0 of 0")
	for range 7 {
		w.got("e1") // a, the first of all
	}
	w.wantLost("a", "7 of 7")
	w.wantLost("b", "0 of 7; 7 the policy took others")
	if err := w.p.Override(w.now, "b", Override{On: true}, w.now); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.got("e1")
	}
	if err := w.p.Override(w.now, "b", Override{}, w.now); err != nil {
		t.Fatal(err)
	}
	w.wantLost("b", "0 of 12; 7 the policy took others; 5 draining")
	w.end("e1", "b", 5, fault)
	for range 20 {
		w.got("e1")
	}
	w.wantLost("b", "5 of 37; 20 ejected; 7 the policy took others; 5 draining")
	w.wantLost("c", "0 of 37; 32 the policy took others; 5 excluded: it had already failed the request")
	w.now += 80 * sec
	w.wantLost("b", "0 of 0")
	if _, ok := w.p.Losses(w.now, "x"); ok {
		t.Error("a server that is not there has losses")
	}
}

// What one edge asked for while it could not reach a server is told apart.
func TestWhatAnEdgeThatCannotReachItAskedFor(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.pass(15 * time.Second)
	w.end("good", "a", 1, fine)
	w.end("bad", "a", 1, unreachable)
	for range 3 {
		w.got("bad")
	}
	for range 4 {
		w.got("good")
	}
	w.wantLost("a", "6 of 9; 3 excluded: the edge cannot reach it")
	if _, err := w.p.Pick(w.now, &Request{Edge: "good", Labels: []Label{{"zone", "x"}}}); err == nil {
		t.Fatal("a label that no server has was found")
	}
	w.wantLost("a", "6 of 9; 3 excluded: the edge cannot reach it") // a refusal went to no server
}

func TestCountingLossesAllocatesNothing(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	w.p.Configure(w.now, Config{Name: "p"}, ByScore{byLeases{}}) // other policies look at all servers
	req := Request{Edge: "e", Exclude: []ServerID{"a"}}
	step := func() {
		w.now = w.now.Add(maintenanceCycle)
		g, err := w.p.Pick(w.now, &req)
		if err != nil {
			t.Fatal(err)
		}
		w.p.Done(w.now, g.Lease, Outcome{Result: OK})
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if l, _ := w.p.Losses(w.now, "b"); l.Won == 0 || len(l.Lost) != 1 || l.Lost[0].Why != "others had a lower score" {
		t.Errorf("%+v, want that others had a lower score for the rest", l)
	}
}

// byLeases takes the server with the fewest leases.
type byLeases struct{}

func (byLeases) Score(_ Instant, s *Server) float64 { return float64(s.Leases()) }

// A request is found by its id, each time that it was tried.
func TestDecisionsForARequest(t *testing.T) {
	w := newWard(t, Config{Decisions: 10}, "a", "b")
	for i, ask := range []Request{{ID: HashID("x")}, {ID: HashID("y")}, {ID: HashID("x"), Exclude: []ServerID{"a"}}, {}} {
		if _, err := w.p.Pick(w.now+Instant(i), &ask); err != nil {
			t.Fatal(err)
		}
	}
	got := w.p.DecisionsFor(w.now, HashID("x"))
	if len(got) != 2 || got[0].Chosen != "b" || got[1].At != w.now {
		t.Errorf("got %+v, want both decisions, newest first", got)
	}
	if len(w.p.DecisionsFor(w.now, HashID("z"))) != 0 || len(w.p.DecisionsFor(w.now, HashID(""))) != 0 {
		t.Error("decisions for a request that was not, or for none")
	}
	if HashID("a") != 0xaf63dc4c8601ec8c { // as published for FNV-1a
		t.Errorf("the hash of a is %x", HashID("a"))
	}
}
