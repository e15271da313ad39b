package e2e

import (
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

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// leaseEnd is what an agent posts of a lease.
type leaseEnd struct {
	Lease, Pool, State, Reason, Result string
}

// application is a server that accepts dispatches, holds the requests for /hold until their test ends, and records what
// it is told.
type application struct {
	*httptest.Server
	began chan string // the lease of each request for /hold

	mu         sync.Mutex
	dispatched []string
	ends       []leaseEnd
}

func startApplication(t testing.TB) *application {
	a := &application{began: make(chan string, 64)}
	over := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/dispatch", func(_ http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.dispatched = append(a.dispatched, r.Header.Get("Evenkeel-Lease"))
	})
	mux.HandleFunc("/end", func(_ http.ResponseWriter, r *http.Request) {
		var end leaseEnd
		if err := json.NewDecoder(r.Body).Decode(&end); err != nil {
			t.Errorf("end: %v", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ends = append(a.ends, end)
	})
	mux.HandleFunc("/hold", func(_ http.ResponseWriter, r *http.Request) {
		a.began <- r.Header.Get("Evenkeel-Lease")
		<-over // as a job that does not look whether anybody waits
	})
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	t.Cleanup(func() { close(over) }) // first
	return a
}

// flags returns what an agent of the application is started with.
func (a *application) flags(id string) []string {
	return []string{"agent", "--pool", "web", "--id", id, "--address", a.Listener.Addr().String(), "--admin", "127.0.0.1:0", "--sample=false", "--hook", a.URL + "/dispatch", "--end-hook", a.URL + "/end"}
}

// endOf waits for the end of a lease.
func (a *application) endOf(t testing.TB, lease string) (end leaseEnd) {
	t.Helper()
	eventually(t, func() (bool, string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.IndexFunc(a.ends, func(e leaseEnd) bool { return e.Lease == lease })
		if i >= 0 {
			end = a.ends[i]
		}
		return i >= 0, fmt.Sprintf("told of %v, want the end of %s", a.ends, lease)
	})
	return end
}

// judge holds the ends against the dispatches: each lease has ended once.
func (a *application) judge(t testing.TB) {
	t.Helper()
	eventually(t, func() (bool, string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.ends) >= len(a.dispatched), fmt.Sprintf("%d dispatches, %d ends", len(a.dispatched), len(a.ends))
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	times := make(map[string]int)
	for _, e := range a.ends {
		times[e.Lease]++
	}
	for _, lease := range a.dispatched {
		if times[lease] != 1 {
			t.Errorf("the end of lease %s was told %d times, want once", lease, times[lease])
		}
	}
	if len(a.ends) != len(a.dispatched) {
		t.Errorf("%d dispatches were accepted, and %d ends told: %v", len(a.dispatched), len(a.ends), a.ends)
	}
}

// hold sends a request that the application holds, the only server that gets any, and returns its connection and lease.
func (a *application) hold(t testing.TB, edge *proc.Process) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", edge.Addr("listen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
	return conn, <-a.began
}

// A client that leaves while its job runs: the application hears it, however it listens, and once.
func TestTheEndReachesTheServer(t *testing.T) {
	t.Parallel()
	app := startApplication(t)
	m := startMaster(t, `pools: {web: {dispatch: true}}`)
	agent := start(t, append(app.flags("app"), "--master", m.Addr("listen"))...)
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 1)

	conn, lease := app.hold(t, edge)
	state := func() (end leaseEnd) {
		get(t, "http://"+agent.Addr("admin")+"/v1/leases/"+lease).into(t, &end)
		return end
	}
	if end := state(); end.State != "open" {
		t.Errorf("while its client waits the lease is %+v", end)
	}
	_ = conn.Close()
	if end := app.endOf(t, lease); end.Reason != "client-left" || end.Pool != "web" || end.State != "ended" {
		t.Errorf("told %+v, want that the client has left", end)
	}
	if end := state(); end.Reason != "client-left" {
		t.Errorf("after the end the lease is %+v", end)
	}
	for range 5 {
		if resp := get(t, "http://"+edge.Addr("listen")+"/quick"); resp.StatusCode != http.StatusOK {
			t.Errorf("answered %s", resp.Status)
		}
	}
	app.judge(t)
	app.mu.Lock()
	defer app.mu.Unlock()
	for _, e := range app.ends {
		if e.Lease != lease && (e.Reason != "done" || e.Result != "ok") {
			t.Errorf("the end of an answered request is told as %+v", e)
		}
	}
}

// The master that has dispatched is killed. The end comes by the next one, whether the client leaves while none leads or
// later, and once.
func TestTheEndReachesTheServerByAnotherMaster(t *testing.T) {
	app := startApplication(t)
	c := startCluster(t, "dispatch: true, grace: 2s", onLoopback())
	flags := app.flags("app")
	for i := range c.masters {
		_, port, err := net.SplitHostPort(c.masters[i].Addr("listen"))
		if err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "--master", net.JoinHostPort(c.houses[i].name, port))
	}
	start(t, append(flags, c.flags("agent", "app")...)...)
	for _, m := range c.masters {
		awaitServers(t, m, "web", 3)
	}
	old, _ := c.leader(-1)
	for _, other := range []string{"a", "b"} {
		if resp := do(t, http.MethodPost, c.masters[old].url("/v1/pools/web/servers/"+other+"/drain"), map[string]string{"reason": "the application is to get all requests"}); resp.StatusCode != http.StatusOK {
			t.Fatalf("draining %s: %s %s", other, resp.Status, resp.body)
		}
	}
	early, first := app.hold(t, c.edges[0])
	late, second := app.hold(t, c.edges[0])
	killed(c, old)
	_ = early.Close()
	c.leader(old)
	if end := app.endOf(t, first); !strings.Contains("client-left master", end.Reason) {
		t.Errorf("of the client that left while no master led: told %+v", end)
	}
	_ = late.Close()
	if end := app.endOf(t, second); end.Reason != "client-left" {
		t.Errorf("of the client that left later: told %+v, want that it has left", end)
	}
	app.judge(t)
}
