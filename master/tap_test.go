package master

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

func quickTap(m *Master) { m.taps.interval = 2 * time.Millisecond }

// tapEvent is an event as a caller reads it.
type tapEvent struct {
	Now      int64
	Matched  int
	NotLed   []map[string]string `json:"not_led"`
	Requests []map[string]any
}

// tapReader is a caller by HTTP.
type tapReader struct {
	t    *testing.T
	in   *bufio.Reader
	stop func()
}

// openTap returns a caller whose taps are in place.
func openTap(t *testing.T, server *httptest.Server, query string) (*tapReader, tapEvent) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/tap"+query, nil)
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %v, want events", res.StatusCode, res.Header)
	}
	w := &tapReader{t, bufio.NewReader(res.Body), cancel}
	return w, w.next()
}

func (w *tapReader) next() (e tapEvent) {
	w.t.Helper()
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				w.t.Fatalf("%v in %s", err, data)
			}
			return e
		}
	}
}

// requests reads on until there are n.
func (w *tapReader) requests(n int) (all []map[string]any) {
	w.t.Helper()
	for len(all) < n {
		all = append(all, w.next().Requests...)
	}
	return all
}

func TestTap(t *testing.T) {
	cfg := web("a", "b")
	cfg.Pools = append(cfg.Pools, PoolConfig{Name: "empty"})
	r := start(t, cfg, quickTap)
	a := newAPI(t, r.Master)
	all, first := openTap(t, a.server, "")
	if first.Now == 0 || len(first.Requests) != 0 || first.NotLed != nil {
		t.Errorf("got %+v, want an empty event first", first)
	}
	failures, _ := openTap(t, a.server, "?errors=true&pool=web&slower_than_ms=0")
	edge := r.Edge("e1")
	g, err := edge.Pick(context.Background(), "web", &balance.Request{Class: "image"})
	if err != nil {
		t.Fatal(err)
	}
	if d := all.requests(1)[0]; d["kind"] != "decision" || d["pool"] != "web" || d["lease"] != g.Lease.String() || d["server"] != string(g.Server) || d["edge"] != "e1" || d["class"] != "image" || d["score"] == nil || d["second"] == nil || d["server_count"] != 2. {
		t.Errorf("got %v, want the decision for %s", d, g.Server)
	}
	edge.Done("web", g.Lease, balance.Outcome{Result: balance.Unreachable, Error: "connection refused", Duration: 20 * time.Millisecond})
	for name, w := range map[string]*tapReader{"all": all, "failures": failures} {
		if o := w.requests(1)[0]; o["kind"] != "outcome" || o["lease"] != g.Lease.String() || o["result"] != "unreachable" || o["error"] != "connection refused" || o["took_ms"] != 20. {
			t.Errorf("%s: got %v, want the outcome", name, o)
		}
	}
	var refused *balance.Refusal
	if _, err := edge.Pick(context.Background(), "empty", &balance.Request{}); !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if o := all.requests(1)[0]; o["kind"] != "refusal" || o["pool"] != "empty" || o["reason"] != "no-server" || o["edge"] != "e1" || o["waited_ms"] != 0. || o["detail"] == nil {
		t.Errorf("got %v, want the refusal", o)
	}
}

func TestTapIsRefused(t *testing.T) {
	r := start(t, web("a"), quickTap)
	a := newAPI(t, r.Master)
	a.problem("GET", "/v1/tap?pool=nope", "", 404, "no-such-pool")
	for _, query := range []string{"errors=perhaps", "slower_than_ms=-1", "slower_than_ms=NaN", "slower_than_ms=1s", "sever=a"} {
		a.problem("GET", "/v1/tap?"+query, "", 400, "bad-request")
	}
	var last *tapReader
	for range mostTaps {
		last, _ = openTap(t, a.server, "")
	}
	a.problem("GET", "/v1/tap", "", 503, "too-many-viewers")
	last.stop()
	for { // until the master has noticed
		res, err := a.server.Client().Get(a.server.URL + "/v1/tap")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == 200 {
			break
		}
	}
}

func TestTapEndsWithTheMaster(t *testing.T) {
	m := newMaster(t, web("a"))
	quickTap(m)
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = m.Run(ctx) })
	w, _ := openTap(t, server, "")
	cancel()
	run.Wait()
	if _, err := io.Copy(io.Discard, w.in); err != nil {
		t.Errorf("the stream ended with %v, want an end", err)
	}
}

// Pools that come are tapped, of those that go nothing is kept, and pools of which nothing is seen are named.
func TestTapFollowsThePools(t *testing.T) {
	m := newMaster(t, web("a"))
	tap := &tapper{master: m, taps: make(map[*pool]*balance.Tap)}
	if body := tap.take(clock.Now()); body.Unled != nil || len(tap.taps) != 1 {
		t.Errorf("got %+v", body)
	}
	cfg := PoolConfig{Name: "other"}
	p, err := newPool(cfg, true, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	before := m.pools.Load()
	m.pools.Store(before.with(p))
	p.lead = lead{elected: true, leader: "m2:7400"}
	if body := tap.take(clock.Now()); len(tap.taps) != 2 || len(body.Unled) != 1 || body.Unled[0] != (unledBody{"other", "m2:7400"}) {
		t.Errorf("got %+v, want the pool that another master leads", body)
	}
	if body := tap.take(clock.Now()); body.Unled != nil {
		t.Errorf("got %+v, want it named once", body)
	}
	m.pools.Store(before)
	if body := tap.take(clock.Now()); len(tap.taps) != 1 || body.Unled == nil || len(body.Unled) != 0 {
		t.Errorf("got %+v, want the pool forgotten", body)
	}
	tap.detach()
	if len(tap.taps) != 0 {
		t.Errorf("%d taps are left", len(tap.taps))
	}
}
