package balance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOutagesInWords(t *testing.T) {
	for want, o := range map[string]Outage{
		"draining since 3s ago":                                 {Kind: OutDraining, Since: 3 * time.Second, Ago: -1},
		"draining since 3s ago; until it is undrained":          {Kind: OutDraining, Since: 3 * time.Second, Next: "until it is undrained"},
		"gone since 0s ago by its agent: it said goodbye":       {Kind: OutGone, By: "its agent", What: "it said goodbye"},
		"unhealthy since 1s ago; last error: no answer, 2s ago": {Kind: OutUnhealthy, Since: time.Second, Error: "no answer", Ago: 2 * time.Second},
		"unhealthy since 1s ago; last error: no answer":         {Kind: OutUnhealthy, Since: time.Second, Error: "no answer", Ago: -1},
		"ejected since 1s ago; tried next in 2s":                {Kind: OutEjected, Since: time.Second, Next: "in 2s"},
	} {
		if got := o.String(); got != want {
			t.Errorf("%+v reads %q, want %q", o, got, want)
		}
	}
	if got := OutageWords([]Outage{{Kind: OutFull, Ago: -1}, {Kind: OutWarming, Ago: -1}}); got != "full since 0s ago. warming since 0s ago" {
		t.Errorf("two outages read %q", got)
	}
	if got := OutageWords(nil); got != "" {
		t.Errorf("none reads %q", got)
	}
}

// What an operator should look into, and has not made.
func TestWhichOutagesAreTrouble(t *testing.T) {
	trouble := map[OutageKind]bool{OutUnhealthy: true, OutUnreachable: true, OutEjected: true, OutHeldBack: true, OutSilent: true, OutForEdge: true, OutOfDate: true}
	for k := range OutageKind(outageKinds) {
		if k.IsTrouble() != trouble[k] {
			t.Errorf("%q is trouble: %t, want %t", k, k.IsTrouble(), trouble[k])
		}
	}
}

func TestWhatIsToldOfHolds(t *testing.T) {
	for n, want := range map[int32]string{0: "it takes no new requests, except one from time to time that tries it", 1: "it takes no more than 1 request at once", 2: "it takes no more than 2 requests at once"} {
		if got := atMost("takes", n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for until, want := range map[Instant]string{sec: "by the next request", sec - 1: "by the next request", 3 * sec: "in 2s"} {
		if got := tried(sec, until); got != want {
			t.Errorf("until %d: %q, want %q", until, got, want)
		}
	}
}

// All that is told of a server in each state: its kind, who says so, and when it is tried again.
func TestWhatIsToldOfAServer(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(w *ward)
		kind OutageKind
		want []string
	}{
		{"well", func(*ward) {}, NoOutage, nil},
		{"gone", func(w *ward) { w.p.Unname(w.now, "a"); w.p.byID["a"].since.left = w.now - 2*sec }, OutGone, []string{"gone since 2s ago by the file: the file names it no more; tried next when the file names it again"}},
		{"unhealthy", func(w *ward) {
			_, _ = w.p.SetHealth(w.now, "a", ByMaster, "no answer")
			w.now += 3 * sec
		}, OutUnhealthy, []string{"unhealthy since 3s ago by", "last error: no answer; tried next when that finds it well"}},
		{"ejected", func(w *ward) { w.end("e1", "a", faultsInRow, fault); w.now += sec }, OutEjected, []string{"ejected since 1s ago by edge e1: it failed several times in a row; last error: HTTP status 500, 1s ago; tried next in 9s"}},
		{"back from its ejection", func(w *ward) { w.end("e1", "a", faultsInRow, fault); w.now += 10 * sec }, OutEjected, []string{"tried next by the next request"}},
		{"suspected", func(w *ward) {
			for range 20 {
				w.end("e1", "b", 5, fine)
				w.end("e1", "a", 1, wrong)
			}
		}, OutEjected, []string{"it answers client errors where the others do not; last error: HTTP status 404"}},
		{"unreachable", func(w *ward) { w.end("e1", "a", 1, unreachable) }, OutUnreachable, []string{"unreachable since 0s ago by edge e1: no edge that tried of late could reach it; last error: connection refused"}},
		{"full", func(w *ward) { w.end("e1", "a", 1, fullFor(5*time.Second)); w.now += sec }, OutFull, []string{"full since 1s ago by its own answers to edge e1: it takes no new requests", "tried next in 4s"}},
		{"failing and not to be spared", func(w *ward) { w.p.restrain(w.now, w.p.byID["a"], heldForFailing, 2, time.Second) }, OutHeldBack, []string{"held-back since 0s ago", "it fails, but so do the others: it gets no more than 2 requests at once"}},
		{"beyond an edge", func(w *ward) { w.end("good", "a", 1, fine); w.end("e1", "a", 1, unreachable) }, OutForEdge, []string{"unreachable-from-edge since 0s ago by edge e1: this edge cannot reach it; last error: connection refused, 0s ago; tried next in 1s"}},
		{"new", func(w *ward) { w.p.warm(w.p.byID["a"], w.now-4*sec); w.p.mean = 10 }, NoOutage, []string{"warming since 4s ago: its share grows gradually; tried next for all that others get in 6s"}},
	} {
		w := newWard(t, Config{}, "a", "b")
		w.p.lastEdge = 0
		if c.name == "gone" { // it has a lease, or it would be forgotten
			if _, err := w.p.Pick(w.now, &Request{Edge: "e1", Exclude: []ServerID{"b"}}); err != nil {
				t.Fatal(err)
			}
		}
		c.with(w)
		s := w.p.byID["a"]
		all := w.p.outages(w.now, s)
		got := OutageWords(all)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", c.name, got, want)
			}
		}
		if len(c.want) == 0 && got != "" {
			t.Errorf("%s: %q, want nothing", c.name, got)
		}
		if kind := s.outKind(w.now); kind != c.kind || kind != NoOutage && all[0].Kind != kind {
			t.Errorf("%s: out as %q, want %q", c.name, kind, c.kind)
		}
	}
}

// Of many edges that cannot reach a server a few are named.
func TestFewEdgesAreNamed(t *testing.T) {
	for n, want := range map[int]string{1: "", 3: "", 4: "this edge and 1 more cannot reach it", 9: "this edge and 6 more cannot reach it"} {
		w := newWard(t, Config{}, "a", "b")
		w.end("good", "a", 1, fine)
		for i := range n {
			w.end(EdgeID(fmt.Sprint("e", i)), "a", 1, unreachable)
		}
		all := w.p.edgeOutages(w.now, w.p.byID["a"])
		if len(all) != min(n, 3) {
			t.Fatalf("of %d edges %d are named, want 3 at most", n, len(all))
		}
		if last := all[len(all)-1].What; want != "" && last != want || want == "" && last != "this edge cannot reach it" {
			t.Errorf("of %d edges: %q, want %q", n, last, want)
		}
	}
}

// Why a server does not get an ordinary request now.
func TestWhyAServerLoses(t *testing.T) {
	for _, c := range []struct {
		want LossKind
		with func(w *ward, s *Server)
	}{
		{lostByScore, func(*ward, *Server) {}},
		{lostByLeaving, func(_ *ward, s *Server) { s.gone = true }},
		{lostByDrain, func(w *ward, _ *Server) { _ = w.p.Override(w.now, "a", Override{On: true}, w.now) }},
		{lostByMaintenance, func(w *ward, _ *Server) { _ = w.p.Override(w.now, "a", Override{Setting: Maintained, On: true}, w.now) }},
		{lostByCheck, func(w *ward, s *Server) { _, _ = w.p.SetHealth(w.now, "a", ByMaster, "sick") }},
		{lostByReach, func(w *ward, s *Server) { w.end("e", "a", 1, unreachable) }},
		{lostByEjection, func(w *ward, s *Server) { w.end("e", "a", faultsInRow, fault) }},
		{lostByFull, func(w *ward, s *Server) { w.p.restrain(w.now, s, heldForFull, 0, time.Second) }},
		{lostByHold, func(w *ward, s *Server) { w.p.restrain(w.now, s, heldForFailing, 0, time.Second) }},
		{lostByScore, func(w *ward, s *Server) { w.p.restrain(w.now, s, heldForFailing, 1, time.Second) }},
		{lostByLimit, func(_ *ward, s *Server) { s.limit, s.leases = 4, 4 }},
		{lostByScore, func(_ *ward, s *Server) { s.limit, s.leases = 4, 3 }},
		{lostByWarming, func(w *ward, s *Server) { w.p.warm(s, w.now); w.p.mean, s.leases = 10, 1 }},
	} {
		w := newWard(t, Config{QueueSize: 10}, "a", "b")
		s := w.p.byID["a"]
		c.with(w, s)
		if got := w.p.lossKind(w.now, s); got != c.want {
			t.Errorf("it loses as %q, want %q", lossWords[got], lossWords[c.want])
		}
	}
}
