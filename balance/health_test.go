package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const sec = Instant(time.Second)

// firstOf takes the first candidate, so that these tests depend on no policy.
type firstOf struct{}

func (firstOf) Choose(Instant, *Request, []*Server, *rand.Rand) int { return 0 }

// ward is a pool with servers by name, whose leases a test ends as it likes.
type ward struct {
	t   *testing.T
	p   *Pool
	now Instant
}

func newWard(t *testing.T, cfg Config, ids ...ServerID) *ward {
	cfg.Name = "web"
	w := &ward{t, New(cfg, firstOf{}, 1), 100 * sec}
	for _, id := range ids {
		if err := w.p.Put(w.now, ServerSpec{ID: id, Address: "127.0.0.1:1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec // warm
	return w
}

// end has an edge's request at the server end so, n times, a millisecond apart.
func (w *ward) end(edge EdgeID, id ServerID, n int, o Outcome) {
	w.t.Helper()
	w.endAfter(sec.Sub(0)/1000, edge, id, n, o)
}

// endAfter is end with requests that take so long.
func (w *ward) endAfter(took time.Duration, edge EdgeID, id ServerID, n int, o Outcome) {
	w.t.Helper()
	for range n {
		var others []ServerID
		for _, s := range w.p.servers {
			if s.spec.ID != id {
				others = append(others, s.spec.ID)
			}
		}
		g, err := w.p.Pick(w.now, &Request{Edge: edge, Exclude: others})
		if err != nil {
			w.t.Fatalf("a request of %s at %s: %v", edge, id, err)
		}
		w.now = w.now.Add(took)
		w.p.Done(w.now, g.Lease, o)
		if err := w.p.Check(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *ward) state(id ServerID) State { return w.p.byID[id].State(w.now) }

func (w *ward) wantOut(ids ...ServerID) {
	w.t.Helper()
	got := ""
	for _, s := range w.p.servers {
		if s.State(w.now) == Ejected {
			got += string(s.spec.ID) + " "
		}
	}
	want := ""
	for _, id := range ids {
		want += string(id) + " "
	}
	if got != want {
		w.t.Errorf("ejected: %q, want %q", got, want)
	}
}

// pass lets time go by, with the pool looked after.
func (w *ward) pass(d time.Duration) {
	for end := w.now.Add(d); w.now < end; {
		w.now = min(end, w.now.Add(maintenanceCycle/10))
		w.p.maintain(w.now)
	}
}

var (
	fine        = Outcome{Duration: 10 * time.Millisecond}
	fault       = Outcome{Result: Fault, Status: 500}
	broken      = Outcome{Result: Broken, Error: "reset"}
	wrong       = Outcome{Result: ClientError, Status: 404}
	unreachable = Outcome{Result: Unreachable, Error: "connection refused"}
)

func TestFiveFaultsInARowEject(t *testing.T) {
	for _, o := range []Outcome{fault, broken} {
		w := newWard(t, Config{}, "a", "b", "c", "d")
		w.end("e", "a", 4, o)
		w.end("e", "a", 1, fine)
		w.end("e", "a", 4, o)
		w.wantOut()
		w.end("e", "a", 1, o)
		w.wantOut("a")
		for _, want := range []time.Duration{firstEject, longestEject, longestEject} {
			s := w.p.byID["a"]
			if got := s.health.ejectedUntil.Sub(w.now); got != want {
				t.Errorf("%v: ejected for %v, want %v", o.Result, got, want)
			}
			w.pass(want)
			w.wantOut()
			w.end("e", "a", 1, o) // the first after its return
			w.wantOut("a")
		}
		w.pass(longestEject)
		w.end("e", "a", 1, fine)
		w.end("e", "a", 4, o)
		w.wantOut()
		w.end("e", "a", 1, o)
		if got := w.p.byID["a"].health.ejectedUntil.Sub(w.now); got != firstEject {
			t.Errorf("%v: after a success ejected for %v, want %v anew", o.Result, got, firstEject)
		}
	}
}

func TestFaultsEjectAThirdOrOneOfTwo(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 9: 3, 11: 3} {
		var ids []ServerID
		for i := range n {
			ids = append(ids, ServerID(fmt.Sprint("s", i)))
		}
		w := newWard(t, Config{}, ids...)
		for _, id := range ids[:max(1, n-1)] { // the last is well, so that others do better
			w.end("e", id, 20, fault)
		}
		w.wantOut(ids[:want]...)
	}
}

// Those that are gone, drain or fail their checks are no room for ejecting more, and the bound does not count them.
func TestCheckedOutServersDoNotCountAsEjectedForFaults(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	for _, id := range []ServerID{"a", "b"} {
		if _, err := w.p.SetHealth(w.now, id, ByMaster, "sick"); err != nil {
			t.Fatal(err)
		}
	}
	w.end("e", "c", 5, fault)
	w.wantOut("a", "b", "c")
	w.end("e", "d", 9, fault)
	w.wantOut("a", "b", "c") // never the last by its answers
	if _, err := w.p.SetHealth(w.now, "d", ByMaster, "sick"); err != nil {
		t.Fatal(err)
	}
	w.wantOut("a", "b", "c", "d")
	if _, err := w.p.Pick(w.now, &Request{}); err != nil {
		t.Errorf("all are out: %v, want a try", err)
	}
}

// Where all fail alike nothing is ejected, and what was ejected first comes back.
func TestWhereAllFailNoneIsEjected(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c")
	for range 30 {
		for _, id := range []ServerID{"a", "b", "c"} {
			w.end("e", id, 1, fault)
		}
	}
	w.wantOut()
	w = newWard(t, Config{}, "a", "b", "c")
	w.end("e", "a", 5, fault)
	w.wantOut("a")
	w.end("e", "b", 5, fault)
	w.end("e", "c", 5, fault)
	w.pass(time.Second)
	w.wantOut()
}

func TestSuccessFallsAndIsForgiven(t *testing.T) {
	h := health{success: 1}
	for n := 1; n <= 10; n++ {
		h.fail()
		if want := math.Pow(1-successGain, float64(n)); math.Abs(float64(h.success)-want) > 1e-4 {
			t.Errorf("%d faults: success %v, want %v", n, h.success, want)
		}
	}
	for range 1000 {
		h.fail()
	}
	if h.success != successFloor {
		t.Errorf("success %v, want the floor %v", h.success, successFloor)
	}
	h.succeed()
	if want := float32(successFloor + successGain*(1-successFloor)); math.Abs(float64(h.success-want)) > 1e-6 || h.inRow != 0 {
		t.Errorf("after one success: %v with %d in a row, want %v with 0", h.success, h.inRow, want)
	}
	cycles := 0
	for ; h.success < 1; cycles++ {
		h.forgive()
	}
	if d := time.Duration(cycles) * maintenanceCycle; d < 25*time.Second || d > 35*time.Second {
		t.Errorf("all is forgiven after %v, want about half a minute", d)
	}
	h.success = .95 // one fault costs an idle server no more than some seconds
	for cycles = 0; h.success < 1; cycles++ {
		h.forgive()
	}
	if d := time.Duration(cycles) * maintenanceCycle; d > 4*time.Second {
		t.Errorf("one fault is forgiven after %v, want at most 4 s", d)
	}
}

// suspicions says what comes of a server's client errors, given what the others answer.
func TestSuspicion(t *testing.T) {
	for _, c := range []struct {
		name        string
		good, wrong int // of each of the two others, before each client error at a
		errors      int
		out         bool
	}{
		{"a few", 5, 0, suspectAfter - 1, false},
		{"many", 5, 0, suspectAfter, true},
		{"others say it sometimes", 3, 1, 30, true},
		{"others say it mostly", 1, 9, 40, false},
		{"others say it too", 0, 1, 200, false},
		{"none of the others was asked", 0, 0, 200, false},
	} {
		w := newWard(t, Config{}, "a", "b", "c")
		w.end("e", "a", 1, fine)
		for range c.errors {
			for _, id := range []ServerID{"b", "c"} {
				w.end("e", id, c.good, fine)
				w.end("e", id, c.wrong, wrong)
			}
			w.end("e", "a", 1, wrong)
		}
		if out := w.state("a") == Ejected; out != c.out {
			t.Errorf("%s: ejected %v, want %v", c.name, out, c.out)
		}
		if w.state("b") != Up || w.state("c") != Up {
			t.Errorf("%s: one of the others is out", c.name)
		}
		if !c.out {
			continue
		}
		w.pass(firstEject)
		w.end("e", "a", againAfter-1, wrong)
		w.end("e", "b", 2, fine)
		w.wantOut()
		w.end("e", "a", 1, wrong)
		w.wantOut("a")
	}
}

// A client that sends wrong requests to one server, twenty for each good one of others, costs
// that server nothing: between them it serves.
func TestOneClientsWrongRequestsDoNotEject(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c")
	for range 500 {
		w.end("e", "a", 20, wrong)
		for _, id := range []ServerID{"a", "b", "c"} {
			w.end("e", id, 1, fine)
		}
	}
	w.wantOut()
	if s := w.p.byID["a"]; s.Success() < 1 {
		t.Errorf("success %v, want 1", s.Success())
	}
}
