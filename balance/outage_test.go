package balance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// turnsOf returns what is told now of servers that went out or came back.
func (w *ward) turnsOf() string {
	var all []string
	for from := range len(w.p.servers) { // in pieces
		for _, turn := range w.p.Turns(w.now, nil, from, from+1) {
			word := fmt.Sprintf("%s back after %v of %s", turn.Server, turn.After.Round(time.Second), turn.Was)
			if turn.Out != nil {
				word = fmt.Sprintf("%s %s", turn.Server, turn.Out.Kind)
			}
			all = append(all, word)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (w *ward) wantTurns(want string) {
	w.t.Helper()
	if got := w.turnsOf(); got != want {
		w.t.Errorf("told %q, want %q", got, want)
	}
	if got := w.turnsOf(); got != "" {
		w.t.Errorf("told again: %q", got)
	}
}

// serve has a server answer well until it is not held any more.
func (w *ward) serve(id ServerID) {
	w.t.Helper()
	for range 10 {
		if w.end("e", id, 1, fine); !w.p.byID[id].isHeld {
			return
		}
		w.now++
	}
	w.t.Fatal("it is still held")
}

// A server that goes out is told once, and once when it is back, however often it was tried
// in vain between.
func TestEachTurnIsToldOnce(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	w.wantTurns("")
	w.end("e", "a", 5, fault)
	w.wantTurns("a ejected")
	for range 3 {
		w.now = w.p.byID["a"].health.ejectedUntil
		w.wantTurns("")
		w.end("e", "a", 1, fault)
		w.wantTurns("")
	}
	w.now = w.p.byID["a"].health.ejectedUntil
	w.end("e", "a", 1, fine)
	w.wantTurns("a back after 55s of ejected")

	if err := w.p.Override(w.now, "b", Override{On: true}, w.now); err != nil {
		t.Fatal(err)
	}
	w.wantTurns("b draining")
	w.now += 3 * sec
	if err := w.p.Override(w.now, "b", Override{}, w.now); err != nil {
		t.Fatal(err)
	}
	w.wantTurns("b back after 3s of draining")
}

// A server that all edges lost is back when one reaches it: the others are told only if
// they fail after that.
// A server that is well is so since it joined or came back.
func TestHowLongAServerHasBeenWell(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	want := func(since time.Duration) {
		t.Helper()
		if got := w.p.Views(w.now)[0].Since; got != since {
			t.Errorf("since %v ago, want %v", got, since)
		}
	}
	want(60 * time.Second)
	if err := w.p.Override(w.now, "a", Override{On: true}, w.now); err != nil {
		t.Fatal(err)
	}
	w.wantTurns("a draining")
	w.now += 5 * sec
	want(5 * time.Second)
	if err := w.p.Override(w.now, "a", Override{}, w.now); err != nil {
		t.Fatal(err)
	}
	w.wantTurns("a back after 5s of draining")
	w.now += 7 * sec
	want(7 * time.Second)
}

func TestOneEdgeAtItsReturn(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	w.end("e1", "a", 1, unreachable)
	w.end("e2", "a", 1, unreachable)
	w.wantTurns("a unreachable")
	w.now += 2 * sec
	w.end("e1", "a", 1, fine)
	w.wantTurns("a back after 2s of unreachable")
	w.end("e2", "a", 1, unreachable)
	w.wantTurns("a unreachable-from-edge")
	w.now += 4 * sec
	w.end("e2", "a", 1, fine)
	w.wantTurns("a back after 6s of unreachable-from-edge")
}

// A server that is full for a moment now and then is not told.
func TestAShortHoldIsNotTold(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	w.end("e", "a", 1, fullFor(3*time.Second))
	w.wantTurns("")
	w.now += sec
	w.wantTurns("a full")
	w.now += 3 * sec
	w.serve("a")
	w.wantTurns("")
	w.p.byID["a"].okCrowd = 0 // as if it had served none for some time, so that it is believed
	w.end("e", "a", 1, fullFor(3*time.Second))
	w.wantTurns("") // as before
	w.now += 4 * sec
	w.serve("a")
	w.wantTurns("")
	w.now += sec
	w.wantTurns("a back after 8s of full")
}

// A server that has left and is known only by a lease is told as such.
func TestWhoLeft(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	if err := w.p.Hold(w.now, "e", &Held{Lease: 1<<48 | 1, Server: "x", Left: time.Minute}); err != nil {
		t.Fatal(err)
	}
	w.wantTurns("x gone")
	if got := OutageWords(w.p.outages(w.now, w.p.byID["x"])); got != "gone since 0s ago by an edge: it is known only by a lease that an edge holds; tried next when it registers" {
		t.Error(got)
	}
}

func TestTurnsOfServersThatAreWellCostNothing(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	if n := testing.AllocsPerRun(100, func() { w.p.Turns(w.now, nil, 0, 4) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
