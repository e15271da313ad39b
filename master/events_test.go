package master

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// kinds returns the kinds of an answer's events, with whom they are about.
func kinds(answer map[string]any) (all []string) {
	for _, e := range answer["events"].([]any) {
		one := e.(map[string]any)
		text := one["kind"].(string)
		for _, about := range []string{"server", "peer", "reason", "by"} {
			if value, ok := one[about].(string); ok {
				text += " " + value
			}
		}
		all = append(all, text)
	}
	return all
}

func TestEventsByAPI(t *testing.T) {
	r := start(t, web("a", "b"))
	a := newAPI(t, r.Master)
	if status, answer, _ := a.call("GET", "/v1/events", ""); status != 200 || !slices.Equal(kinds(answer), []string{"master-started"}) {
		t.Fatalf("got %d %v, want the start", status, answer)
	}
	a.call("POST", "/v1/pools/web/servers/a/drain", `{"by":"ann","reason":"disk"}`)
	a.call("POST", "/v1/pools/web/servers/a/drain", `{"by":"bob"}`) // changes nothing
	a.call("POST", "/v1/pools/web/servers/a/undrain", `{"by":"bob"}`)
	if err := r.Reload(web("a", "c")); err != nil {
		t.Fatal(err)
	}
	_, answer, _ := a.call("GET", "/v1/events?after=1", "")
	want := []string{"server-drained a ann", "server-undrained a bob", "server-joined c the file", "server-left b the file", "config-reloaded"}
	if got := kinds(answer); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, answer, _ := a.call("GET", "/v1/events?server=a&pool=web&limit=2", ""); !slices.Equal(kinds(answer), want[:2]) || answer["newest"] != 6. {
		t.Errorf("got %v, want the newest two of a, of 6", answer)
	}
	a.problem("GET", "/v1/events?after=x", "", 400, "bad-request")
	a.problem("GET", "/v1/events?limit=0", "", 400, "bad-request")
}

// eventually one of a master's events is of a kind.
func awaitEvent(t *testing.T, m *Master, kind string) event {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if list, _ := m.events.since(clock.Now(), 0, mostEvents, func(e *event) bool { return e.Kind == kind }); len(list) > 0 {
			return list[len(list)-1]
		}
	}
	list, _ := m.events.since(clock.Now(), 0, mostEvents, nil)
	t.Fatalf("no %s among %+v", kind, list)
	return event{}
}

func TestEventsOfOutagesAndPeers(t *testing.T) {
	r := start(t, web("a", "b"))
	e := r.Edge("e1")
	for range 20 {
		g, err := e.Pick(context.Background(), "web", &balance.Request{Exclude: []balance.ServerID{"b"}})
		if err != nil {
			break // it is out
		}
		e.Done("web", g.Lease, balance.Outcome{Result: balance.Unreachable, Error: "connection refused"})
	}
	if out := awaitEvent(t, r.Master, eventServerOut); out.Server != "a" || out.Pool != "web" || out.Error != "connection refused" || out.Reason == "" {
		t.Errorf("got %+v, want that a is out, with the error", out)
	}
}

func TestEventsOfLeaders(t *testing.T) {
	cfg := web("a")
	cfg.Elected = true
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Follow("web", "m2", "10.0.0.2:7400")
	m.Follow("web", "m2", "10.0.0.2:7400")
	m.Lead("web", 7)
	m.Lead("web", 7)
	list, _ := m.events.since(clock.Now(), 1, 10, nil)
	if len(list) != 2 || list[0].Kind != eventPoolFollowed || list[0].Peer != "m2" || list[1].Kind != eventPoolLed {
		t.Errorf("got %+v, want one of following and one of leading", list)
	}
}

// The ring is bounded, and a burst of one kind does not drive out the others.
func TestEventsAreBounded(t *testing.T) {
	var e events
	now := balance.Instant(time.Hour)
	e.add(now, event{Kind: eventPoolLed, Pool: "web"})
	for i := range 3 * mostEvents {
		e.add(now, event{Kind: eventServerJoined, Pool: "web", Server: fmt.Sprint("s", i)})
	}
	list, newest := e.since(now, 0, mostEvents, nil)
	if len(list) != 1+eventBurst || newest != 1+eventBurst || list[0].Kind != eventPoolLed {
		t.Errorf("got %d events up to %d, want the first one and %d of the burst", len(list), newest, eventBurst)
	}
	now = now.Add(eventBurstTime)
	if list, _ = e.since(now, newest, 10, nil); len(list) != 1 || list[0].Count != 3*mostEvents-eventBurst || list[0].Server != "" {
		t.Errorf("got %+v, want one event for the rest of the burst", list)
	}
	for i := range 2 * mostEvents {
		e.add(now.Add(time.Duration(i)*eventBurstTime), event{Kind: eventServerBack, Pool: "web"})
	}
	list, newest = e.since(now, 0, 2*mostEvents, nil)
	if len(list) != mostEvents || list[0].Seq != newest-mostEvents+1 || list[mostEvents-1].Seq != newest {
		t.Errorf("got %d events from %d, want the newest %d up to %d", len(list), list[0].Seq, mostEvents, newest)
	}
}
