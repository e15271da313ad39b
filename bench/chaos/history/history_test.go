package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// good is a history of one pool that dispatches and one that does not, in which every kind of event
// happens: a retry, a change of the leader while requests are under way, a refusal.
func good() []Event {
	return []Event{
		{Kind: Sent, At: 10, Request: "r1", Once: true},
		{Kind: Granted, At: 11, Until: 30, Request: "r1", Lease: "a1", Fence: 1, Pool: "web", Server: "s1", Edge: "e1"},
		{Kind: Arrived, At: 15, Request: "r1", Lease: "a1", Fence: 1, Pool: "web", Server: "s1", Edge: "e1"},
		{Kind: Done, At: 19, Request: "r1", Lease: "a1", Fence: 1, Pool: "web", Server: "s1"},
		{Kind: Answered, At: 20, Request: "r1", Of: "r1", Server: "s1"},

		{Kind: Sent, At: 12, Request: "r2"}, // is tried at two servers, under two leaders
		{Kind: Arrived, At: 14, Request: "r2", Lease: "a2", Fence: 1, Pool: "web", Server: "s1"},
		{Kind: Arrived, At: 30, Request: "r2", Lease: "b1", Fence: 2, Pool: "web", Server: "s2"},
		{Kind: Answered, At: 35, Request: "r2", Of: "r2", Server: "s2"},

		{Kind: Sent, At: 13, Request: "r3"}, // was granted early by the old leader, and arrives late
		{Kind: Arrived, At: 33, Request: "r3", Lease: "a3", Fence: 1, Pool: "web", Server: "s1"},

		{Kind: Sent, At: 40, Request: "r4", Once: true}, // the first server refuses
		{Kind: Dispatched, At: 41, Lease: "c1", Fence: 1, Pool: "jobs", Server: "j1", Refused: true},
		{Kind: Dispatched, At: 42, Lease: "c2", Fence: 1, Pool: "jobs", Server: "j2"},
		{Kind: Arrived, At: 43, Request: "r4", Lease: "c2", Fence: 1, Pool: "jobs", Server: "j2"},
		{Kind: Granted, At: 40, Until: 50, Request: "r4", Lease: "c2", Fence: 1, Pool: "jobs", Server: "j2"},
		{Kind: Done, At: 44, Request: "r4", Lease: "c2", Fence: 1, Pool: "jobs", Server: "j2"},
		{Kind: Answered, At: 45, Request: "r4", Of: "r4", Server: "j2"},

		{Kind: Sent, At: 60, Request: "r5"}, // chosen without a master
		{Kind: Arrived, At: 61, Request: "r5", Server: "s1"},
		{Kind: Sent, At: 62, Request: "r6"}, // another master's lease of the same number
		{Kind: Arrived, At: 63, Request: "r6", Lease: "a1", Fence: 2, Pool: "web", Server: "s2"},
		{Kind: Dispatched, At: 64, Lease: "c3", Fence: 3, Pool: "jobs", Server: "j2"},
		{Kind: Dispatched, At: 66, Lease: "c4", Fence: 1, Pool: "jobs", Server: "j2"}, // overtaken on its way from the agent
	}
}

var jobs = []string{"jobs"}

func TestAGoodHistory(t *testing.T) {
	events := good()
	for range 20 {
		for _, v := range Check(events, jobs, "") {
			t.Errorf("%s: %v", v.Rule, v)
		}
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] }) // who wrote it down first does not matter
	}
}

// Each of these changes to the good history breaks a rule, and that alone.
func TestBadHistories(t *testing.T) {
	find := func(events []Event, kind Kind, id string) *Event {
		for i := range events {
			if e := &events[i]; e.Kind == kind && (e.Request == id || e.Lease == id) {
				return e
			}
		}
		panic(kind.String() + " " + id)
	}
	for name, c := range map[string]struct {
		rule  string
		spoil func([]Event) []Event
	}{
		"a lease at two servers": {Leases, func(all []Event) []Event {
			return append(all, Event{Kind: Arrived, At: 70, Lease: "a1", Fence: 1, Pool: "web", Server: "s2"})
		}},
		"an edge was granted another server than was reached": {Leases, func(all []Event) []Event {
			find(all, Granted, "r1").Server = "s2"
			return all
		}},
		"a lease of two requests": {Leases, func(all []Event) []Event {
			find(all, Granted, "r1").Request = "r2"
			return all
		}},
		"done elsewhere": {Leases, func(all []Event) []Event {
			find(all, Done, "r1").Server = "s2"
			return all
		}},
		"done before it arrived": {Leases, func(all []Event) []Event {
			find(all, Done, "r1").At = 14
			return all
		}},
		"a dispatch accepted twice": {Leases, func(all []Event) []Event {
			return append(all, Event{Kind: Dispatched, At: 48, Lease: "c2", Fence: 1, Pool: "jobs", Server: "j2"})
		}},
		"a dispatch accepted by two": {Leases, func(all []Event) []Event {
			return append(all, Event{Kind: Dispatched, At: 48, Lease: "c2", Fence: 1, Pool: "jobs", Server: "j1"})
		}},
		"a dispatch accepted that was refused": {Leases, func(all []Event) []Event {
			return append(all, Event{Kind: Dispatched, At: 48, Lease: "c1", Fence: 1, Pool: "jobs", Server: "j1"})
		}},
		"a request arrived that no server had accepted": {Leases, func(all []Event) []Event {
			find(all, Dispatched, "c2").At = 44
			return all
		}},
		"an edge was granted what no server had accepted": {Leases, func(all []Event) []Event {
			find(all, Granted, "r4").Until = 41
			return all
		}},
		"a fence fell": {Fences, func(all []Event) []Event {
			return append(all, Event{Kind: Sent, At: 70, Request: "r7"}, Event{Kind: Arrived, At: 71, Request: "r7", Lease: "a9", Fence: 1, Pool: "web", Server: "s1"})
		}},
		"a fence rose too soon": {Fences, func(all []Event) []Event {
			return append(all, Event{Kind: Sent, At: 1, Request: "r7"}, Event{Kind: Arrived, At: 2, Request: "r7", Lease: "a9", Fence: 2, Pool: "web", Server: "s1"})
		}},
		"a server accepted a dispatch of a former leader": {Fences, func(all []Event) []Event {
			return append(all, Event{Kind: Dispatched, At: 70 + int64(overtaking), Lease: "c9", Fence: 2, Pool: "jobs", Server: "j2"})
		}},
		"an answer of another": {Requests, func(all []Event) []Event {
			find(all, Answered, "r1").Of = "r2"
			return all
		}},
		"an answer of a server that was not reached": {Requests, func(all []Event) []Event {
			find(all, Answered, "r1").Server = "s2"
			return all
		}},
		"an answer before the server was reached": {Requests, func(all []Event) []Event {
			find(all, Answered, "r1").At = 14
			return all
		}},
		"two answers": {Requests, func(all []Event) []Event {
			return append(all, *find(all, Answered, "r1"))
		}},
		"an answer that no server gave": {Requests, func(all []Event) []Event {
			return append(all, Event{Kind: Sent, At: 80, Request: "r8"}, Event{Kind: Answered, At: 81, Request: "r8", Of: "r8", Server: "s1"})
		}},
		"a request that may not be repeated at two servers": {Requests, func(all []Event) []Event {
			return append(all, Event{Kind: Arrived, At: 18, Request: "r1", Server: "s2"})
		}},
		"a request that may not be repeated twice at one": {Requests, func(all []Event) []Event {
			return append(all, Event{Kind: Arrived, At: 18, Request: "r1", Server: "s1"})
		}},
		"a request that no client sent": {Requests, func(all []Event) []Event {
			return append(all, Event{Kind: Arrived, At: 18, Request: "r0", Server: "s1"})
		}},
		"a request that arrived before it was sent": {Requests, func(all []Event) []Event {
			find(all, Sent, "r4").At = 44
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			got := Check(c.spoil(good()), jobs, dir)
			if len(got) != 1 || got[0].Rule != c.rule {
				t.Fatalf("got %v, want one violation: %s", got, c.rule)
			}
			v := got[0]
			if page, err := os.ReadFile(v.File); err != nil || len(page) < 1000 || filepath.Dir(v.File) != dir {
				t.Errorf("its picture %q has %d bytes: %v", v.File, len(page), err)
			}
			if len(v.Excerpt) == 0 || len(v.Excerpt) > 6 || !strings.Contains(v.String(), v.Excerpt[0].String()) {
				t.Errorf("its excerpt: %v", v)
			}
		})
	}
}

// What byFence leaves out decides nothing: on small random histories the verdict is that
// on the whole one.
func TestFencesLeaveOutWhatDecidesNothing(t *testing.T) {
	verdicts := make(map[bool]int)
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var events, whole []Event
		at, fence := int64(0), uint64(1)
		for i := range 12 {
			at += rng.Int64N(4)
			if rng.IntN(3) == 0 {
				fence++
			}
			f := fence
			if rng.IntN(12) == 0 && f > 1 {
				f--
			}
			id, until := fmt.Sprint(i), at+1+rng.Int64N(6)
			events = append(events, Event{Kind: Sent, At: at, Request: id}, Event{Kind: Arrived, At: until, Request: id, Pool: "web", Fence: f})
			whole = append(whole, Event{Kind: Arrived, At: at, Until: until, Fence: f})
		}
		want := porcupine.CheckOperations(fenceModel, operations(whole))
		verdicts[want]++
		if got := porcupine.CheckOperations(fenceModel, operations(byFence(events)["web"])); got != want {
			t.Fatalf("seed %d: got %v, want %v: %v", seed, got, want, whole)
		}
	}
	if verdicts[true] < 100 || verdicts[false] < 100 {
		t.Errorf("%v: too few of one kind to mean anything", verdicts)
	}
}

// A long history is judged in seconds, and one bad event in it is found.
func TestALongHistory(t *testing.T) {
	var events []Event
	for i := range int64(20_000) {
		id := fmt.Sprint("r", i)
		e := Event{At: 100 * i, Request: id, Lease: fmt.Sprint("l", i), Fence: uint64(1 + i/500), Pool: "web", Server: fmt.Sprint("s", i%4)}
		for d, kind := range []Kind{Sent, Arrived, Done, Answered} {
			e.Kind, e.At, e.Of = kind, 100*i+500*int64(d), id
			events = append(events, e)
		}
	}
	if got := Check(events, nil, ""); len(got) != 0 {
		t.Fatalf("got %v, want nothing", got)
	}
	bad := slices.IndexFunc(events, func(e Event) bool { return e.Kind == Answered && e.Request == "r12345" })
	events[bad].Of = "r12346"
	if got := Check(events, nil, ""); len(got) != 1 || got[0].Of != "r12345" {
		t.Errorf("got %v, want r12345", got)
	}
}
