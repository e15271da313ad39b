package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/master"
)

// gate is a server that works on one request at a time for as long as the test wants.
type gate struct {
	*httptest.Server
	arrived chan string   // path of a request that has come
	leave   chan struct{} // lets one go
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan string, 10), leave: make(chan struct{}, 10)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.arrived <- r.URL.Path
		select {
		case <-g.leave:
			_, _ = io.WriteString(w, r.URL.Path)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(g.Close)
	return g
}

// next returns the path of the next request to come.
func (g *gate) next(t *testing.T) string {
	t.Helper()
	select {
	case path := <-g.arrived:
		return path
	case <-time.After(2 * time.Minute):
		t.Fatal("no request came within 2 minutes")
		return ""
	}
}

// oneSlot runs a master and an edge in this process before one server with one slot,
// and returns where clients connect.
func oneSlot(t *testing.T, g *gate, pool master.PoolConfig, timeout time.Duration) (m *master.Master, base string) {
	t.Helper()
	pool.Name = "web"
	pool.Servers = []balance.ServerSpec{{ID: "s1", Address: strings.TrimPrefix(g.URL, "http://"), Slots: 1}}
	m, err := master.New(master.Config{Pools: []master.PoolConfig{pool}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := edge.New(edge.Config{ID: "e1", Listeners: []routing.Listener{{Listen: ln.Addr().String(), Routes: []routing.Route{{Pool: "web", Key: "path", Timeout: timeout}}}}}, m.Edge("e1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func() error{func() error { return m.Run(ctx) }, func() error { return e.Run(ctx, ln) }} {
		all.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); all.Wait() })
	return m, "http://" + ln.Addr().String()
}

// metric reads one line of a master's metrics.
func metric(m *master.Master, name string) string {
	w := httptest.NewRecorder()
	unguarded(m).ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func awaitMetric(t *testing.T, m *master.Master, name, want string) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for got := metric(m, name); got != want; got = metric(m, name) {
		select {
		case <-limit:
			t.Fatalf("%s is %q, want %s within 2 minutes", name, got, want)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

const queueLength = `evenkeel_queue_length{pool="web"}`

func fetch(ctx context.Context, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	client := http.Client{Transport: &http.Transport{}} // not Connection: close, by which a client that closes its side waits for an answer
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// Three requests meet a server with one slot: the second and the third wait in the
// master while the first is there, and are granted the server in order.
func TestRequestsWaitForTheirTurn(t *testing.T) {
	g := newGate(t)
	m, base := oneSlot(t, g, master.PoolConfig{}, 0)
	var clients sync.WaitGroup
	for i := range 3 {
		clients.Go(func() {
			res, body, err := fetch(t.Context(), fmt.Sprintf("%s/%d", base, i))
			if err != nil || res.StatusCode != http.StatusOK || body != fmt.Sprintf("/%d", i) {
				t.Errorf("request %d: got %v %q %v, want 200 and its path", i, res, body, err)
			}
		})
		if i == 0 {
			if got := g.next(t); got != "/0" {
				t.Fatalf("got %s, want /0", got)
			}
			continue
		}
		awaitMetric(t, m, queueLength, fmt.Sprint(i))
	}
	if len(g.arrived) > 0 {
		t.Errorf("%s came while the only slot was taken", <-g.arrived)
	}
	for range 3 {
		g.leave <- struct{}{}
	}
	clients.Wait()
	w := httptest.NewRecorder()
	unguarded(m).ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/v1/pools/web/decisions", nil))
	var told struct{ Decisions []decisionAnswer }
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, d := range slices.Backward(told.Decisions) {
		order = append(order, d.Request.Key)
	}
	var want []string
	for _, key := range []string{"/0", "/1", "/2"} { // which are shown as hashes
		sum := sha256.Sum256([]byte(key))
		want = append(want, fmt.Sprintf("sha256:%x", sum[:8]))
	}
	if !slices.Equal(order, want) {
		t.Errorf("they were granted the server in order %v, want /0, /1, /2", order)
	}
	awaitMetric(t, m, `evenkeel_queue_wait_duration_seconds_count{end="served",pool="web"}`, "2")
}

// What exceeds the queue is refused while the others go on waiting.
func TestSurplusIsRefused(t *testing.T) {
	g := newGate(t)
	m, base := oneSlot(t, g, master.PoolConfig{QueueSize: 1}, 0)
	var clients sync.WaitGroup
	defer clients.Wait()
	for range 2 {
		clients.Go(func() {
			if res, body, err := fetch(t.Context(), base+"/"); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("got %v %q %v, want 200", res, body, err)
			}
		})
	}
	g.next(t)
	awaitMetric(t, m, queueLength, "1")
	res, body, err := fetch(t.Context(), base+"/surplus") // the server holds on to what it has until this is answered
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"saturated"`) {
		t.Errorf("got %v %q %v, want 503 saturated and Retry-After", res, body, err)
	}
	g.leave <- struct{}{}
	g.next(t)
	g.leave <- struct{}{}
}

func TestRequestIsGivenUpInTheQueue(t *testing.T) {
	for name, c := range map[string]struct {
		pool    master.PoolConfig
		timeout time.Duration // of the route
	}{
		"the pool's longest wait": {master.PoolConfig{QueueWait: 50 * time.Millisecond}, time.Minute},
		"the route's timeout":     {master.PoolConfig{}, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			m, base := oneSlot(t, g, c.pool, c.timeout)
			var clients sync.WaitGroup
			defer clients.Wait()
			clients.Go(func() { _, _, _ = fetch(t.Context(), base+"/") })
			g.next(t)
			defer func() { g.leave <- struct{}{} }()
			res, body, err := fetch(t.Context(), base+"/")
			if err != nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"shed"`) {
				t.Errorf("got %v %q %v, want 429 shed and Retry-After", res, body, err)
			}
			awaitMetric(t, m, `evenkeel_picks_total{pool="web",verdict="shed"}`, "1")
		})
	}
}

func TestClientThatLeavesTheQueueIsForgotten(t *testing.T) {
	g := newGate(t)
	m, base := oneSlot(t, g, master.PoolConfig{}, 0)
	var clients sync.WaitGroup
	defer clients.Wait()
	clients.Go(func() { _, _, _ = fetch(t.Context(), base+"/first") })
	g.next(t)
	ctx, leave := context.WithCancel(t.Context())
	clients.Go(func() { _, _, _ = fetch(ctx, base+"/impatient") })
	awaitMetric(t, m, queueLength, "1")
	leave()
	awaitMetric(t, m, queueLength, "0")
	g.leave <- struct{}{}
	awaitMetric(t, m, `evenkeel_leases_open{pool="web"}`, "0")
	if len(g.arrived) > 0 {
		t.Errorf("%s came, though its client had left", <-g.arrived)
	}
}
