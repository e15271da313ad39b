package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// gate is a server that keeps every request until it is let go, and counts the most that it has had at once.
type gate struct {
	mu            sync.Mutex
	present, most int
	total         int
	free          chan struct{}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.present++
	g.total++
	g.most = max(g.most, g.present)
	g.mu.Unlock()
	select {
	case <-g.free:
	case <-r.Context().Done():
	}
	g.mu.Lock()
	g.present--
	g.mu.Unlock()
}

func (g *gate) counts() (present, most, total int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.present, g.most, g.total
}

// answers counts what clients got, by status.
type answers struct {
	mu     sync.Mutex
	counts map[int]int
	retry  int // of the 503s, with a Retry-After
	wait   sync.WaitGroup
}

// send sends so many requests at once.
func (a *answers) send(t *testing.T, edge *proc.Process, n int) {
	for range n {
		a.wait.Go(func() {
			resp, err := client.Get("http://" + edge.Addr("listen") + "/")
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			a.mu.Lock()
			defer a.mu.Unlock()
			a.counts[resp.StatusCode]++
			if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
				a.retry++
			}
		})
	}
}

func (a *answers) of(status int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[status]
}

// A server with max_in_flight never has more requests than that, as it counts itself: with a master, by the edges' shares without
// one, and with one that is new and has to be told.
func TestACapHoldsAtTheServer(t *testing.T) {
	const most, sent = 3, 12
	g := &gate{free: make(chan struct{})}
	server := httptest.NewServer(g)
	t.Cleanup(func() { close(g.free); server.Close() })
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {grace: 2s, queue: {wait: 1m}, servers: [{id: s1, address: %q, slots: 100, max_in_flight: %d}]}}", server.Listener.Addr(), most))
	e1, e2 := edgeAt(t, m, "e1", "web"), edgeAt(t, m, "e2", "web")
	got := &answers{counts: make(map[int]int)}
	reach := func(present int) {
		t.Helper()
		eventually(t, func() (bool, string) {
			n, _, total := g.counts()
			return n == present, fmt.Sprintf("the server has %d requests, want %d; %d came", n, present, total)
		})
	}

	for _, e := range []*proc.Process{e1, e2} {
		eventually(t, func() (bool, string) {
			body := string(get(t, "http://"+e.Addr("admin")+"/metrics").body)
			return strings.Contains(body, `evenkeel_edge_cap_sharers{pool="web"} 2`), "an edge does not know yet that there are two"
		})
	}
	got.send(t, e1, sent)
	got.send(t, e2, sent)
	reach(most)
	for range 2*sent - most {
		g.free <- struct{}{}
	}
	reach(most)
	for range most {
		g.free <- struct{}{}
	}
	got.wait.Wait()
	awaitOpen(t, m.master, "web", 0)

	m.Kill()
	degraded(t, e1, e2)
	got.send(t, e1, sent)
	got.send(t, e2, sent)
	reach(most)
	eventually(t, func() (bool, string) {
		n := got.of(http.StatusServiceUnavailable)
		return n == 2*sent-most, fmt.Sprintf("%d requests got 503 without a master, want all but %d of %d", n, most, 2*sent)
	})

	m.again()
	awaitOpen(t, m.master, "web", most)
	got.send(t, e1, sent)
	got.send(t, e2, sent)
	eventually(t, func() (bool, string) {
		n := pool(t, m.master, "web").Waiting
		return n == 2*sent, fmt.Sprintf("%d requests wait, want %d", n, 2*sent)
	})
	for range most + 2*sent {
		g.free <- struct{}{}
	}
	got.wait.Wait()
	if _, highest, _ := g.counts(); highest != most {
		t.Errorf("the server had %d requests at once, want %d at most", highest, most)
	}
	if ok, refused := got.of(http.StatusOK), got.of(http.StatusServiceUnavailable); ok != 4*sent+most || refused != got.retry {
		t.Errorf("%d requests were served and %d refused, %d of these with a Retry-After; want %d and all", ok, refused, got.retry, 4*sent+most)
	}
}
