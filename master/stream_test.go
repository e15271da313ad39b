package master

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// streamEvent is an event of the stream, as a viewer reads it.
type streamEvent struct {
	kind string
	streamHead
	Pools []streamPool `json:"pools"`
}

type streamPool struct {
	poolTotal
	Gone    []int            `json:"gone"`
	Servers []map[string]any `json:"servers"`
	Flying  []int            `json:"flying"`
	Rows    [][]any          `json:"rows"`
}

func parseStreamEvent(t *testing.T, text string) (e streamEvent) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatalf("%v in %s", err, value)
			}
		}
	}
	return e
}

// streamReader is a viewer by HTTP.
type streamReader struct {
	t    *testing.T
	in   *bufio.Reader
	stop func()
}

func openStream(t *testing.T, server *httptest.Server) *streamReader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/stream", nil)
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v, want the stream", res.StatusCode, res.Header)
	}
	return &streamReader{t, bufio.NewReader(res.Body), cancel}
}

func (w *streamReader) next() streamEvent {
	w.t.Helper()
	var text strings.Builder
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			w.t.Fatalf("%v after %q", err, text.String())
		}
		if line == "\n" {
			return parseStreamEvent(w.t, text.String())
		}
		text.WriteString(line)
	}
}

// until reads on to an event that has what is wanted.
func (w *streamReader) until(has func(*streamEvent) bool) streamEvent {
	w.t.Helper()
	for {
		if e := w.next(); has(&e) {
			return e
		}
	}
}

func quickStream(m *Master) { m.stream.interval = 2 * time.Millisecond }

func TestStream(t *testing.T) {
	r := start(t, web("a", "b"), quickStream)
	a := newAPI(t, r.Master)
	w := openStream(t, a.server)
	first := w.next()
	if first.kind != "snapshot" || len(first.Pools) != 1 || first.Pools[0].Name != "web" || len(first.Pools[0].Servers) != 2 || len(first.Pools[0].Rows) != 2 || first.Master.ID != "m1" || len(first.Events) != 1 {
		t.Fatalf("got %+v, want a snapshot of two servers, with the events", first)
	}
	a.call("POST", "/v1/pools/web/servers/a/drain", `{"by":"ann","reason":"disk"}`)
	seen := w.until(func(e *streamEvent) bool { return len(e.Events) > 0 })
	if e := seen.Events[0]; seen.kind != "tick" || e.Kind != eventServerDrained || e.By != "ann" {
		t.Errorf("got %+v, want a tick with the drain", seen)
	}
	overrides := func(e *streamEvent) any {
		for _, p := range e.Pools {
			for _, s := range p.Servers {
				if s["id"] == "b" {
					return s["overrides"]
				}
			}
		}
		return "b is not told of"
	}
	a.call("POST", "/v1/pools/web/servers/b/set", `{"slots":3,"by":"ann","reason":"memory"}`)
	w.until(func(e *streamEvent) bool {
		list, _ := overrides(e).([]any)
		if len(list) != 1 {
			return false
		}
		o := list[0].(map[string]any)
		return o["setting"] == "slots" && o["value"] == 3. && o["by"] == "ann" && o["reason"] == "memory"
	})
	a.call("POST", "/v1/pools/web/servers/b/unset", `{"by":"ann"}`)
	w.until(func(e *streamEvent) bool { return overrides(e) == nil })
	edge := r.Edge("e1")
	g, err := edge.Pick(context.Background(), "web", &balance.Request{Key: "user-17", Tenant: "t", Class: "image"})
	if err != nil {
		t.Fatal(err)
	}
	seen = w.until(func(e *streamEvent) bool { return len(e.Decisions) > 0 })
	if d := seen.Decisions[0]; d.Lease != g.Lease.String() || d.Server != "b" || d.Class != "image" || d.Pool != "web" {
		t.Errorf("got %+v, want the decision for b", d)
	}
	w.stop()
}

// A decision that was shown can be explained though the pool has forgotten it.
func TestStreamKeepsWhatItShows(t *testing.T) {
	cfg := web("a", "b")
	cfg.Pools[0].Decisions = 1
	r := start(t, cfg, quickStream)
	a := newAPI(t, r.Master)
	w := openStream(t, a.server)
	edge := r.Edge("e1")
	pick := func() string {
		g, err := edge.Pick(context.Background(), "web", &balance.Request{Tenant: "t", Belief: balance.Proven})
		if err != nil {
			t.Fatal(err)
		}
		edge.Done("web", g.Lease, balance.Outcome{})
		return g.Lease.String()
	}
	lease := pick()
	w.until(func(e *streamEvent) bool { return len(e.Decisions) > 0 })
	pick()
	status, l, _ := a.call("GET", "/v1/leases/"+lease, "")
	if d, _ := l["decision"].(map[string]any); status != 200 || l["open"] != false || d == nil || len(d["candidates"].([]any)) != 2 {
		t.Errorf("got %d %v, want the decision", status, l)
	}
}

func TestStreamIsForFewViewersAtOnce(t *testing.T) {
	r := start(t, web("a"), quickStream)
	a := newAPI(t, r.Master)
	var all []*streamReader
	for range maxViewers {
		all = append(all, openStream(t, a.server))
	}
	for _, w := range all {
		if first, second := w.next(), w.next(); first.kind != "snapshot" || second.kind != "tick" || second.Seq <= first.Seq {
			t.Fatalf("got %s %d and %s %d, want a snapshot and a later tick", first.kind, first.Seq, second.kind, second.Seq)
		}
	}
	a.problem("GET", "/v1/stream", "", 503, "too-many-viewers")
	all[0].stop()
	for { // until the master has noticed
		res, err := a.server.Client().Get(a.server.URL + "/v1/stream")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == 200 {
			break
		}
	}
}

func TestStreamEndsWithTheMaster(t *testing.T) {
	m := newMaster(t, web("a"))
	quickStream(m)
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = m.Run(ctx) })
	w := openStream(t, server)
	w.next()
	cancel()
	run.Wait()
	if _, err := io.Copy(io.Discard, w.in); err != nil {
		t.Errorf("the stream ended with %v, want an end", err)
	}
}

// A viewer that takes nothing costs no memory, holds up no other, and is sent a snapshot when it is back.
func TestStreamWaitsForNoViewer(t *testing.T) {
	var s stream
	slow, quick := &viewer{news: make(chan struct{}, 1), wantSnapshot: true}, &viewer{news: make(chan struct{}, 1), wantSnapshot: true}
	s.viewers = map[*viewer]struct{}{slow: {}, quick: {}}
	got := 0
	for i := range 10 * viewerBehind {
		s.publish([]byte(fmt.Sprint("tick ", i)), func() []byte { return []byte(fmt.Sprint("snapshot ", i)) })
		events, _ := s.take(quick)
		got += len(events)
		if len(slow.pending) > viewerBehind+1 {
			t.Fatalf("%d events wait for a viewer that takes nothing, want at most %d", len(slow.pending), viewerBehind+1)
		}
	}
	if got != 10*viewerBehind {
		t.Errorf("the other viewer got %d events, want %d", got, 10*viewerBehind)
	}
	events, _ := s.take(slow)
	if len(events) == 0 || !strings.HasPrefix(string(events[0]), "snapshot ") || string(events[0]) == "snapshot 0" {
		t.Errorf("got %q, want a later snapshot first", events)
	}
}

// viewed is what a viewer makes of the events.
type viewed map[string]map[int]viewedServer

type viewedServer struct {
	facts map[string]any
	row   []any
}

func (v viewed) apply(e *streamEvent) {
	if e.kind == "snapshot" {
		clear(v)
	}
	for _, p := range e.Pools {
		servers := v[p.Name]
		if servers == nil {
			servers = make(map[int]viewedServer)
			v[p.Name] = servers
		}
		for _, n := range p.Gone {
			delete(servers, n)
		}
		for _, f := range p.Servers {
			n := int(f["n"].(float64))
			servers[n] = viewedServer{facts: f, row: servers[n].row}
		}
		for _, row := range p.Rows {
			n := int(row[0].(float64))
			servers[n] = viewedServer{facts: servers[n].facts, row: row}
		}
		for i := 0; i < len(p.Flying); i += 3 {
			s := servers[p.Flying[i]]
			s.row = slices.Clone(s.row)
			s.row[1] = float64(p.Flying[i+1])
			servers[p.Flying[i]] = s
		}
	}
}

// Who has seen all ticks knows what a snapshot tells.
func TestTicksAddUpToSnapshots(t *testing.T) {
	cfg := web()
	for i := range 700 {
		cfg.Pools[0].Servers = append(cfg.Pools[0].Servers, spec(balance.ServerID(fmt.Sprint("s", i))))
	}
	m := newMaster(t, cfg)
	p := &producer{master: m}
	pool, rng := m.poolNamed("web"), rand.New(rand.NewPCG(1, 1))
	now := clock.Now()
	p.tick(now)
	known := make(viewed)
	first := parseStreamEvent(t, string(p.snapshot()))
	known.apply(&first)
	var open []balance.LeaseID
	for round := range 30 {
		now = now.Add(time.Second)
		pool.mu.Lock()
		for range 300 {
			switch id := balance.ServerID(fmt.Sprint("s", rng.IntN(800))); rng.IntN(8) {
			case 0:
				if pool.core.Has(id) {
					pool.removeServerLocked(now, id)
				}
			case 1:
				_ = pool.core.Put(now, balance.ServerSpec{ID: id, Address: fmt.Sprintf("%s.test:%d", id, 80+rng.IntN(2))}, false)
			case 2:
				_ = pool.core.Override(now, id, balance.Override{On: rng.IntN(2) == 0, By: "ann"}, now)
			case 3, 4:
				if len(open) > 0 {
					pool.core.Done(now, open[0], balance.Outcome{Result: balance.Result(rng.IntN(2)), Duration: time.Millisecond, Error: "it failed"})
					open = open[1:]
				}
			default:
				if g, err := pool.core.Pick(now, &balance.Request{}); err == nil {
					open = append(open, g.Lease)
				}
			}
		}
		pool.mu.Unlock()
		tick := parseStreamEvent(t, string(p.tick(now)))
		known.apply(&tick)
		fresh, want := parseStreamEvent(t, string(p.snapshot())), make(viewed)
		want.apply(&fresh)
		for name, servers := range want {
			if !slices.Equal(slices.Sorted(maps.Keys(servers)), slices.Sorted(maps.Keys(known[name]))) {
				t.Fatalf("round %d: the ticks tell of %d servers, the snapshot of %d", round, len(known[name]), len(servers))
			}
			for n, s := range servers {
				if !reflect.DeepEqual(s, known[name][n]) {
					t.Fatalf("round %d: the ticks tell %v, the snapshot %v", round, known[name][n], s)
				}
			}
		}
		if servers, _ := pool.core.Servers(); servers != len(known["web"]) {
			t.Fatalf("round %d: %d servers were told, want %d", round, len(known["web"]), servers)
		}
	}
}

// A tick of a large pool in which all moves is bounded.
func TestTicksAreBounded(t *testing.T) {
	cfg := web()
	for i := range 4 * rowsATick {
		cfg.Pools[0].Servers = append(cfg.Pools[0].Servers, spec(balance.ServerID(fmt.Sprint("s", i))))
	}
	m := newMaster(t, cfg)
	p := &producer{master: m}
	pool, now := m.poolNamed("web"), clock.Now()
	p.tick(now)
	p.tick(now) // what is new has been told
	told := make(map[float64]bool)
	pool.mu.Lock()
	for range 4 * rowsATick {
		if _, err := pool.core.Pick(now, &balance.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	pool.mu.Unlock()
	for round := range 4 {
		e := parseStreamEvent(t, string(p.tick(now)))
		if rows := len(e.Pools[0].Rows); rows > rowsATick {
			t.Errorf("round %d: %d servers in full, want at most %d", round, rows, rowsATick)
		}
		for _, row := range e.Pools[0].Rows {
			told[row[0].(float64)] = true
		}
		if flying := len(e.Pools[0].Flying); round == 0 && flying != 3*4*rowsATick {
			t.Errorf("%d figures of requests in flight, want %d", flying, 3*4*rowsATick)
		}
	}
	if len(told) != 4*rowsATick {
		t.Errorf("after four ticks %d servers were told, want all %d", len(told), 4*rowsATick)
	}
}
