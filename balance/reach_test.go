package balance

import (
	"fmt"
	"testing"
	"time"
)

// got asks for an edge and ends the lease well; it returns the server.
func (w *ward) got(edge EdgeID) ServerID {
	w.t.Helper()
	g, err := w.p.Pick(w.now, &Request{Edge: edge})
	if err != nil {
		w.t.Fatal(err)
	}
	w.now += sec / 1000
	w.p.Done(w.now, g.Lease, fine)
	return g.Server
}

// What one edge cannot reach is kept from that edge, and from no other, until it is tried
// again.
func TestOneEdgesWordExcludesForThatEdgeOnly(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c", "d")
	for _, id := range []ServerID{"a", "b", "c"} {
		w.end("good", id, 1, fine)
		w.end("bad", id, 1, unreachable)
	}
	w.wantOut()
	for range 20 {
		if id := w.got("bad"); id != "d" {
			t.Fatalf("the edge got %s, which it cannot reach", id)
		}
		if id := w.got("good"); id != "a" {
			t.Fatalf("the other edge got %s, want a, the first of all", id)
		}
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, longestExclusion, longestExclusion} {
		x := w.p.edges[w.p.edgeNo["bad"]].beyond.servers[w.p.byID["a"]]
		if got := x.until.Sub(x.since); x.inRow == 1 && got != want {
			t.Errorf("excluded for %v at first, want %v", got, want)
		}
		w.now = x.until
		for range 50 { // so that the good edge has tried lately
			w.got("good")
		}
		before := w.now
		w.endAfter(slowly, "bad", "a", 1, unreachable)
		if got := x.until.Sub(before); got < want || got > 2*want+sec.Sub(0)/100 && got > longestExclusion+sec.Sub(0)/100 {
			t.Errorf("excluded for %v after %v", got, want)
		}
		w.wantOut()
	}
	w.now = w.p.edges[w.p.edgeNo["bad"]].beyond.until
	w.end("bad", "a", 1, fine)
	if id := w.got("bad"); id != "a" {
		t.Errorf("got %s, want a, which it reaches again", id)
	}
}

// slowly is how long it takes to find out that a server cannot be reached, where nothing comes back.
const slowly = 800 * time.Millisecond

// Where it is found out at once that a server cannot be reached, it is tried again soon, and so has its share back
// soon after it has been started again.
func TestAServerThatRefusesConnectionsIsTriedAgainSoon(t *testing.T) {
	for _, c := range []struct{ took, longest time.Duration }{
		{time.Millisecond, quickExclusion}, {200 * time.Millisecond, 4 * time.Second}, {5 * time.Second, longestExclusion},
	} {
		w := newWard(t, Config{}, "a", "b")
		w.end("e", "a", 1, fine)
		for range 8 {
			w.endAfter(c.took, "e", "a", 1, unreachable)
			w.now = max(w.p.byID["a"].health.ejectedUntil, w.p.edges[w.p.edgeNo["e"]].beyond.until)
		}
		w.endAfter(c.took, "e", "a", 1, unreachable)
		if got := w.p.byID["a"].health.ejectedUntil.Sub(w.now); got != c.longest {
			t.Errorf("a server that could not be reached after %v is given up for %v, want %v", c.took, got, c.longest)
		}
		if got := w.p.edges[w.p.edgeNo["e"]].beyond.until.Sub(w.now); got != c.longest {
			t.Errorf("a server that could not be reached after %v is excluded for its edge for %v, want %v", c.took, got, c.longest)
		}
	}
}

func TestAServerThatNoEdgeReachesIsGivenUp(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.end("e1", "a", 1, fine)
	w.end("e2", "a", 1, fine)
	w.end("e1", "a", 1, unreachable)
	w.wantOut()
	w.end("e2", "a", 1, unreachable)
	w.wantOut("a")
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, longestEject, longestEject} {
		if got := w.p.byID["a"].health.ejectedUntil.Sub(w.now); got > want || got < want-sec.Sub(0)/10 {
			t.Errorf("given up for %v, want %v", got, want)
		}
		w.pass(want)
		w.endAfter(slowly, "e1", "a", 1, unreachable)
		w.wantOut("a")
	}
	w.pass(longestEject)
	w.end("e2", "a", 1, fine)
	w.wantOut()

	w = newWard(t, Config{}, "a", "b", "c", "d") // without bound
	for _, id := range []ServerID{"a", "b", "c", "d"} {
		w.end("e1", id, 1, unreachable)
	}
	w.wantOut("a", "b", "c", "d")
	w.got("e1") // all are tried
}

// An edge that has not tried for 5 s says nothing against what two others find.
func TestOnlyWhoTriedLatelyCounts(t *testing.T) {
	for after, want := range map[time.Duration]State{4 * time.Second: Up, 6 * time.Second: Ejected} {
		w := newWard(t, Config{}, "a", "b")
		w.end("e1", "a", 1, fine)
		w.now = w.now.Add(after)
		w.end("e2", "a", 1, unreachable)
		w.end("e3", "a", 1, unreachable)
		if got := w.state("a"); got != want {
			t.Errorf("%v after another edge has reached it: %v, want %v", after, got, want)
		}
	}
}

// Where another edge asks too, one edge's word alone keeps a server from no other edge, though no other has tried it yet.
func TestOneOfSeveralEdgesGivesUpNoServerForAll(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.end("good", "b", 1, fine)
	for range 5 {
		w.end("bad", "a", 1, unreachable)
		if got := w.state("a"); got != Up {
			t.Fatalf("what one of two edges cannot reach is %v, want up", got)
		}
		w.now = w.p.edges[w.p.edgeNo["bad"]].beyond.until
	}
	w.end("bad", "a", 1, unreachable)
	w.end("good", "a", 1, unreachable)
	if got := w.state("a"); got != Ejected {
		t.Errorf("what neither of two edges can reach is %v, want ejected", got)
	}
}

// A word that has been under way since before the exclusion began does not prolong it.
func TestSeveralFailuresUnderWayCountOnce(t *testing.T) {
	w := newWard(t, Config{}, "a", "b")
	w.end("good", "a", 1, fine)
	var open []LeaseID
	for range 5 {
		g, err := w.p.Pick(w.now, &Request{Edge: "bad", Exclude: []ServerID{"b"}})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, g.Lease)
	}
	for _, id := range open {
		w.p.Done(w.now, id, unreachable)
	}
	x := w.p.edges[w.p.edgeNo["bad"]].beyond.servers[w.p.byID["a"]]
	if x.inRow != 1 || x.until.Sub(w.now) != time.Second {
		t.Errorf("%+v, want one failure", x)
	}
}

// A pool keeps no more exclusions than it may, and none of servers or edges that are gone.
func TestExclusionsAreBounded(t *testing.T) {
	var ids []ServerID
	for i := range 20 {
		ids = append(ids, ServerID(fmt.Sprint("s", i)))
	}
	w := newWard(t, Config{}, ids...)
	count := func() (n int) {
		for i := range w.p.edges {
			if b := w.p.edges[i].beyond; b != nil {
				n += len(b.servers)
			}
		}
		return n
	}
	check := func(want int) {
		t.Helper()
		if got := count(); got != want || w.p.exclusions != want {
			t.Errorf("%d exclusions, counted as %d, want %d", got, w.p.exclusions, want)
		}
	}
	for _, id := range ids {
		w.end("good", id, 1, fine)
		w.end("e1", id, 1, unreachable)
		w.end("e2", id, 1, unreachable)
	}
	check(40)
	w.p.Unname(w.now, "s3")
	check(38)
	w.p.Left(w.now, "e1")
	check(19)
	w.p.Lost(w.now, "e2")
	check(0)
	w.p.exclusions = mostExclusions
	w.end("e1", "s5", 3, unreachable)
	if count() != 0 {
		t.Error("one more than there may be")
	}
	w.p.exclusions = 0
	w.end("e1", "s5", 1, unreachable)
	check(1)
	w.pass(longestExclusion + exclusionMemory + 10*time.Second)
	check(0)
}

// Among thousands of servers, most of which one edge cannot reach, its choice is among those
// that it can, and is nearly the best of them.
func TestAnEdgeThatReachesFewOfMany(t *testing.T) {
	w := newWard(t, Config{})
	w.p.Configure(w.now, w.p.cfg, ByScore{leastLeases{}})
	const n = 1000
	for i := range n {
		if err := w.p.Put(w.now, ServerSpec{ID: ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	e := &w.p.edges[w.p.edge("bad")]
	e.beyond = &beyond{servers: make(map[*Server]*exclusion), until: w.now + 60*sec}
	for i, s := range w.p.servers {
		if i%4 != 0 {
			e.beyond.servers[s] = &exclusion{until: w.now + 60*sec}
			w.p.exclusions++
		}
	}
	for range n { // the good edge fills all alike, and the bad one its quarter
		w.p.Pick(w.now, &Request{Edge: "good"})
	}
	most := 0
	for range n / 4 {
		g, err := w.p.Pick(w.now, &Request{Edge: "bad"})
		if err != nil {
			t.Fatal(err)
		}
		s := w.p.byID[g.Server]
		if s.index%4 != 0 {
			t.Fatalf("got %s, which it cannot reach", g.Server)
		}
		most = max(most, s.Leases())
	}
	if most > 3 {
		t.Errorf("one server has %d leases, want 2 or hardly more", most)
	}
	req := &Request{Edge: "bad"}
	if allocs := testing.AllocsPerRun(100, func() {
		g, _ := w.p.Pick(w.now, req)
		w.p.Done(w.now, g.Lease, Outcome{Result: Canceled})
	}); allocs != 0 {
		t.Errorf("a choice for an edge that cannot reach all allocates %v times", allocs)
	}
}

type leastLeases struct{}

func (leastLeases) Score(_ Instant, s *Server) float64 { return float64(s.Leases()) + 1 }

// One edge's requests that wait for what it can reach do not keep those of others from what
// they can.
func TestWaitingForWhatIsInReachBlocksNoOthers(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100, RoundTrip: time.Microsecond})
	for _, id := range []ServerID{"a", "b"} {
		if err := w.p.Put(w.now, ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: 1}, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	w.end("good", "a", 1, fine)
	w.end("bad", "a", 1, unreachable)
	ga, _ := w.p.Pick(w.now, &Request{Edge: "good"})
	gb, err := w.p.Pick(w.now, &Request{Edge: "good"})
	if err != nil || ga.Server == gb.Server {
		t.Fatalf("%v %v %v, want both servers taken", ga, gb, err)
	}
	if gb.Server == "a" {
		ga, gb = gb, ga
	}
	for range 40 {
		if _, _, refusal := w.p.Join(w.now, &Request{Edge: "bad"}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	id, _, refusal := w.p.Join(w.now, &Request{Edge: "good"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	w.p.Done(w.now, ga.Lease, fine)
	if got := w.p.Serve(w.now, nil); len(got) != 1 || got[0].ID != id || got[0].Grant.Server != "a" {
		t.Errorf("released %+v, want the other edge's request to a", got)
	}
}

// Those who ask are told in words why a server gets nothing, or less.
func TestHealthIsToldInWords(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *ward)
		of   ServerID
		want string
	}{
		{"well", func(*ward) {}, "a", ""},
		{"faults", func(w *ward) { w.end("e", "a", 5, fault) }, "a", "ejected since 0s ago by edge e: it failed several times in a row; last error: HTTP status 500, 0s ago; tried next in 10s"},
		{"tried in vain", func(w *ward) { w.end("e", "a", 5, fault); w.now += 10 * sec; w.end("e2", "a", 1, fault); w.now += sec }, "a",
			"ejected since 11s ago by edge e2: it failed several times in a row; last error: HTTP status 500, 1s ago; tried next in 14s"},
		{"about to be tried", func(w *ward) { w.end("e", "a", 5, fault); w.now += 12 * sec }, "a",
			"ejected since 12s ago by edge e: it failed several times in a row; last error: HTTP status 500, 12s ago; tried next by the next request"},
		{"no edge", func(w *ward) { w.end("e2", "a", 1, unreachable) }, "a",
			"unreachable since 0s ago by edge e2: no edge that tried of late could reach it; last error: connection refused, 0s ago; tried next in 1s"},
		{"one edge, and unhealthy", func(w *ward) {
			w.end("e1", "a", 1, fine)
			w.end("e2", "a", 1, unreachable)
			_, _ = w.p.SetHealth(w.now, "a", ByAgent, "no answer")
		}, "a",
			"unhealthy since 0s ago by its agent; last error: no answer; tried next when that finds it well. " +
				"unreachable-from-edge since 0s ago by edge e2: this edge cannot reach it; last error: connection refused, 0s ago; tried next in 1s"},
		{"one edge", func(w *ward) { w.end("e1", "a", 1, fine); w.end("e2", "a", 1, unreachable); w.now += sec / 2 }, "a",
			"unreachable-from-edge since 500ms ago by edge e2: this edge cannot reach it; last error: connection refused, 500ms ago; tried next in 500ms"},
		{"full", func(w *ward) { w.end("e", "a", 1, fullFor(3*time.Second)); w.now += sec }, "a",
			"full since 1s ago by its own answers to edge e: it takes no new requests, except one from time to time that tries it; last error: HTTP status 503, 1s ago; tried next in 2s"},
		{"full a moment ago", func(w *ward) { w.end("e", "a", 1, fullFor(3*time.Second)); w.now += 4 * sec }, "a",
			"full since 4s ago by its own answers to edge e: it takes no new requests, except one from time to time that tries it; last error: HTTP status 503, 4s ago; tried next by the next request"},
		{"checked", func(w *ward) { _, _ = w.p.SetHealth(w.now, "a", ByMaster, "no answer within 1s"); w.now += sec }, "a",
			"unhealthy since 1s ago by the master's check; last error: no answer within 1s; tried next when that finds it well"},
		{"drained", func(w *ward) {
			_ = w.p.Override(w.now, "a", Override{On: true, By: "ann", Reason: "disk"}, w.now)
			w.now += sec
		}, "a", "draining since 1s ago by ann: \"disk\"; until it is undrained"},
		{"left", func(w *ward) { w.p.Goodbye(w.now, "a"); w.now += sec; w.p.Goodbye(w.now, "a") }, "a", "gone since 1s ago by its agent: it said goodbye; tried next when it registers again"},
		{"back", func(w *ward) {
			w.end("e", "a", 5, fault)
			w.now += 20 * sec
			w.end("e", "a", 1, fine)
			w.pass(20 * time.Second)
		}, "a", ""},
		{"fails and cannot be spared", func(w *ward) { w.end("e", "b", 5, fault); w.end("e", "a", 5, fault) }, "a",
			"held-back since 0s ago by its own answers to edge e: it fails, but so do the others: it gets no new requests, except one from time to time that tries it; last error: HTTP status 500, 0s ago; tried next in 100ms"},
	} {
		w := newWard(t, Config{}, "a", "b", "c")
		c.do(w)
		for _, candidate := range w.p.Explain(w.now, &Request{Edge: "e"}).Candidates {
			if got := OutageWords(candidate.Outages); candidate.Server == c.of && got != c.want {
				t.Errorf("%s: told\n%q, want\n%q", c.name, got, c.want)
			}
		}
	}
}

func TestThatAllAreTriedIsTold(t *testing.T) {
	w := newWard(t, Config{Decisions: 10}, "a", "b")
	for _, id := range []ServerID{"a", "b"} {
		w.end("e", id, 1, unreachable)
	}
	if d := w.p.Explain(w.now, &Request{Edge: "e"}); d.Note != allOut || d.Chosen != "" && d.Chosen != "a" {
		t.Errorf("all are out: note %q, chosen %q", d.Note, d.Chosen)
	}
	g, err := w.p.Pick(w.now, &Request{Edge: "e"})
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := w.p.Decision(w.now, g.Lease); !ok || d.Note != allOut {
		t.Errorf("the decision that was kept: note %q, want %q", d.Note, allOut)
	}
	w = newWard(t, Config{Decisions: 10}, "a", "b")
	w.end("good", "a", 1, fine)
	w.end("e", "a", 1, unreachable)
	d := w.p.Explain(w.now, &Request{Edge: "e"})
	if d.Note != "" || d.Candidates[1].Server != "a" || d.Candidates[1].Why != "excluded: this edge cannot reach it" {
		t.Errorf("%+v, want a excluded", d)
	}
	w.end("e", "b", 1, fullFor(time.Second)) // a beyond reach, and b full: b is tried
	if d := w.p.Explain(w.now, &Request{Edge: "e"}); d.Note != allSayFull {
		t.Errorf("note %q, want %q", d.Note, allSayFull)
	}
}
