package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// gated is a server that keeps every request until it is let go.
func gated(t *testing.T) (*gate, *httptest.Server) {
	g := &gate{free: make(chan struct{})}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(g.free) })
	return g, s
}

// await waits until a server has so many requests.
func (g *gate) await(t *testing.T, what string, present int) {
	t.Helper()
	eventually(t, func() (bool, string) {
		n, _, total := g.counts()
		return n == present, fmt.Sprintf("%s has %d requests, want %d; %d came", what, n, present, total)
	})
}

// What a pool's servers have no room for goes to another pool; what that has no room for either comes back and waits. Servers, metrics,
// the log and explain say so.
func TestOverflowToAnotherPool(t *testing.T) {
	t.Parallel()
	own, first := gated(t)
	rented, second := gated(t)
	m := startMaster(t, fmt.Sprintf(`pools:
  web: {overflow: {pool: cloud, when: wait > 0s}, servers: [{id: own, address: %q, max_in_flight: 2}]}
  cloud: {queue: {size: 0}, servers: [{id: rented, address: %q, max_in_flight: 1}]}`, first.Listener.Addr(), second.Listener.Addr()))
	e := startEdge(t, m, "e", "web")
	ready(t, e)
	got := &answers{counts: make(map[int]int)}
	for _, pool := range []string{"web", "cloud"} {
		eventually(t, func() (bool, string) { // a master that has just begun takes servers with caps to be full
			var d struct{ Chosen string }
			do(t, "POST", m.url("/v1/pools/"+pool+"/explain"), struct{}{}).into(t, &d)
			return d.Chosen != "", "no request to pool " + pool + " would get a server"
		})
	}
	got.send(t, e, 2)
	own.await(t, "the pool's server", 2)
	done := make(chan answer, 1)
	go func() {
		done <- get(t, "http://"+e.Addr("listen")+"/", "X-Request-Id", "the-third")
	}()
	rented.await(t, "the other pool's server", 1)
	got.send(t, e, 3)
	eventually(t, func() (bool, string) {
		n := pool(t, m, "web").Waiting
		return n == 3, fmt.Sprintf("%d requests wait in the pool, want the 3 for which the other has no room", n)
	})
	own.await(t, "the pool's server", 2)
	rented.await(t, "the other pool's server", 1)
	for metrics, want := range map[string]string{
		"http://" + e.Addr("admin") + "/metrics": `evenkeel_edge_overflows_total{pool="web",to="cloud"} 4`,
		m.url("/metrics"):                        `evenkeel_picks_total{pool="web",verdict="overflow"} 4`,
	} {
		if !strings.Contains(string(get(t, metrics).body), want) {
			t.Errorf("%s lacks %s", metrics, want)
		}
	}
	if pool(t, m, "cloud").Open != 1 {
		t.Errorf("the other pool has %d open leases, want 1", pool(t, m, "cloud").Open)
	}
	rented.free <- struct{}{}
	if a := <-done; a.StatusCode != http.StatusOK {
		t.Errorf("the request that went on got %s", a.Status)
	}
	for range 5 {
		own.free <- struct{}{}
	}
	got.wait.Wait()
	if n := got.of(http.StatusOK); n != 5 {
		t.Errorf("%d of the 5 other requests were served", n)
	}
	awaitOpen(t, m, "web", 0)
	awaitOpen(t, m, "cloud", 0)
	out, err := exec.Command(binary, "explain", "the-third", "--admin", m.url("")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := string(out)
	for _, want := range []string{"request the-third went on from pool web at once", "every server is at its limit: it goes on to pool cloud", "request the-third went to rented"} {
		if !strings.Contains(said, want) {
			t.Errorf("explain says\n%s\nwithout %q", said, want)
		}
	}
	if log := e.Log(); !strings.Contains(log, `"pool":"cloud","server":"rented"`) || !strings.Contains(log, `"overflow_from":"web"`) {
		t.Errorf("the access log does not say that a request went on:\n%s", log)
	}
}

// A request goes on when it has waited as long as it may.
func TestOverflowAfterAWait(t *testing.T) {
	t.Parallel()
	own, first := gated(t)
	rented, second := gated(t)
	m := startMaster(t, fmt.Sprintf(`pools:
  web: {overflow: {pool: cloud, when: wait > 1s}, queue: {wait: 1h}, servers: [{id: own, address: %q, slots: 1}]}
  cloud: {servers: [{id: rented, address: %q}]}`, first.Listener.Addr(), second.Listener.Addr()))
	e := startEdge(t, m, "e", "web")
	ready(t, e)
	got := &answers{counts: make(map[int]int)}
	got.send(t, e, 1)
	own.await(t, "the pool's server", 1)
	got.send(t, e, 1)
	rented.await(t, "the other pool's server", 1)
	if end := string(get(t, m.url("/metrics")).body); !strings.Contains(end, `evenkeel_queue_wait_duration_seconds_count{end="overflow",pool="web"} 1`) {
		t.Error("the metrics do not tell of a wait that ended by going on")
	}
	own.free <- struct{}{}
	rented.free <- struct{}{}
	got.wait.Wait()
}
