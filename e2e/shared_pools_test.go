package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// echoGate is a gate whose answers name their requests.
type echoGate struct{ gate }

func (g *echoGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.gate.ServeHTTP(w, r)
	_, _ = io.WriteString(w, r.Header.Get("Sample-Name"))
}

// callers send requests to pools through edges and count what comes back.
type callers struct {
	t      *testing.T
	wait   sync.WaitGroup
	mu     sync.Mutex
	sent   int
	counts map[int]int // answers by status
}

// send sends so many requests to a pool through an edge, each with a name that its answer has to repeat.
func (c *callers) send(edge *proc.Process, pool string, n int) {
	for range n {
		c.sent++
		name := fmt.Sprintf("%s-%d", pool, c.sent)
		c.wait.Go(func() {
			req, _ := http.NewRequest("GET", "http://"+edge.Addr("listen")+"/"+pool, nil)
			req.Header.Set("Sample-Name", name)
			resp, err := client.Do(req)
			if err != nil {
				c.t.Error(err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode == http.StatusOK && string(body) != name {
				c.t.Errorf("request %s was answered with %q, %v", name, body, err)
			}
			c.mu.Lock()
			c.counts[resp.StatusCode]++
			c.mu.Unlock()
		})
	}
}

func (c *callers) of(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[status]
}

// Two servers that take one request at a time stand in two pools. Whatever pool and edge requests come by, the servers never have two at
// once: with a master, without one, and with one that is new and has to be told.
func TestAServerOfTwoPoolsCountsOnce(t *testing.T) {
	const servers, each = 2, 5
	gates := [servers]*echoGate{}
	var entries, also []string
	for i := range gates {
		gates[i] = &echoGate{gate{free: make(chan struct{})}}
		s := httptest.NewServer(gates[i])
		t.Cleanup(func() { close(gates[i].free); s.Close() })
		entries = append(entries, fmt.Sprintf("{id: p%d, address: %q, max_in_flight: 1}", i, s.Listener.Addr()))
		also = append(also, fmt.Sprintf("{id: s%d, address: %q}", i, s.Listener.Addr()))
	}
	m := startFixedMaster(t, fmt.Sprintf("pools:\n  pages: {grace: 2s, queue: {wait: 1m}, servers: [%s]}\n  sockets: {grace: 2s, queue: {wait: 1m}, servers: [%s]}\n",
		strings.Join(entries, ", "), strings.Join(also, ", ")))
	e1, e2 := edgeAt(t, m, "e1", "pages", "pages", "sockets"), edgeAt(t, m, "e2", "pages", "pages", "sockets")
	c := &callers{t: t, counts: make(map[int]int)}
	sendAll := func() {
		for _, pool := range []string{"pages", "sockets"} {
			c.send(e1, pool, each)
			c.send(e2, pool, each)
		}
	}
	const all = 4 * each
	reach := func() {
		t.Helper()
		eventually(t, func() (bool, string) {
			a, _, _ := gates[0].counts()
			b, _, _ := gates[1].counts()
			return a == 1 && b == 1, fmt.Sprintf("the servers have %d and %d requests, want one each", a, b)
		})
	}
	letGo := func(n int) { // so many requests, of whichever server
		for range n {
			select {
			case gates[0].free <- struct{}{}:
			case gates[1].free <- struct{}{}:
			}
		}
	}
	waiting := func(want int) {
		t.Helper()
		eventually(t, func() (bool, string) {
			n := pool(t, m.master, "pages").Waiting + pool(t, m.master, "sockets").Waiting
			return n == want, fmt.Sprintf("%d requests wait, want %d", n, want)
		})
	}
	open := func(want int) {
		t.Helper()
		eventually(t, func() (bool, string) {
			n := pool(t, m.master, "pages").Open + pool(t, m.master, "sockets").Open
			return n == want, fmt.Sprintf("%d leases are open, want %d", n, want)
		})
	}

	for _, e := range []*proc.Process{e1, e2} {
		for _, name := range []string{"pages", "sockets"} {
			eventually(t, func() (bool, string) {
				body := string(get(t, "http://"+e.Addr("admin")+"/metrics").body)
				return strings.Contains(body, `evenkeel_edge_cap_sharers{pool="`+name+`"} 2`), "an edge does not know yet that there are two"
			})
		}
	}
	sendAll()
	reach()
	waiting(all - servers)
	letGo(all)
	c.wait.Wait()
	open(0)

	m.Kill()
	degraded(t, e1, e2)
	sendAll()
	reach()
	eventually(t, func() (bool, string) {
		n := c.of(http.StatusServiceUnavailable)
		return n == all-servers, fmt.Sprintf("%d requests got 503 without a master, want all but %d of %d", n, servers, all)
	})

	m.again()
	for _, e := range []*proc.Process{e1, e2} { // one of them may have both leases
		eventually(t, func() (bool, string) {
			value, _ := metric(t, e.Addr("admin"), "evenkeel_edge_master_connected")
			return value == "1", "an edge is not connected again"
		})
	}
	open(servers)
	sendAll()
	waiting(all)
	letGo(servers + all)
	c.wait.Wait()
	for i, g := range gates {
		if _, most, _ := g.counts(); most != 1 {
			t.Errorf("server %d had %d requests at once, want 1", i, most)
		}
	}
	if ok := c.of(http.StatusOK); ok != 2*all+servers {
		t.Errorf("%d requests were served, want %d", ok, 2*all+servers)
	}
}

// An agent registers its server in all the pools that its file names, and all count it once.
func TestAnAgentOfTwoPools(t *testing.T) {
	m := startMaster(t, "pools: {pages: {agents: [r1]}, sockets: {agents: [r1]}}")
	s := startServer(t, "r1")
	start(t, "agent", "--config", file(t, fmt.Sprintf("agent: {masters: [%q], pools: [pages, sockets], id: r1, address: %q, admin: \"127.0.0.1:0\"}", m.Addr("listen"), s.Addr("listen"))))
	e := startEdge(t, m, "e1", "pages")
	hold := func(name string, other string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			v := server(t, m, name, "r1")
			return v.State == "up" && v.Agent && fmt.Sprint(v.OtherPools) == "["+other+"]", fmt.Sprintf("pool %s has %+v", name, v)
		})
	}
	hold("pages", "sockets")
	hold("sockets", "pages")
	if got := get(t, "http://"+e.Addr("listen")+"/").StatusCode; got != http.StatusOK {
		t.Errorf("got %d", got)
	}
	eventually(t, func() (bool, string) {
		a, b := server(t, m, "pages", "r1"), server(t, m, "sockets", "r1")
		return len(a.Metrics) > 0 && len(b.Metrics) > 0, fmt.Sprintf("metrics %v and %v, want those of the agent in both pools", a.Metrics, b.Metrics)
	})
}
