package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// One test for each row of README's table of claims. Who is loaded is really loaded,
// who was chosen is read from the servers' own records, and where an order is claimed
// the test holds one step and sees that the next does not come.

// The master determines every server's load, selects by it and tells the edge, which
// links client and server.
func TestClaims_1_18_26_TheMasterSelectsByLoad(t *testing.T) {
	t.Parallel() // most of it is waiting
	m := startMaster(t, `pools: {web: {}}`)
	a, b := startServer(t, "a", "--slots", "4"), startServer(t, "b", "--slots", "4")
	startScrapingAgent(t, m, "web", "a", a, "--slots", "4")
	startScrapingAgent(t, m, "web", "b", b, "--slots", "4")
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 2)

	release := occupy(t, a, 8)
	awaitLoad(t, m, "web", "a", func(load float64) bool { return load > 6 })
	eventually(t, func() (bool, string) {
		n := burst(t, edge, "/busy", 40)
		return n["b"] >= 36, fmt.Sprintf("with all slots of a taken twice over, 40 requests went to %v; want nearly all at b", n)
	})
	release()
	awaitLoad(t, m, "web", "a", func(load float64) bool { return load < 1 })
	occupy(t, b, 8)
	awaitLoad(t, m, "web", "b", func(load float64) bool { return load > 6 })
	eventually(t, func() (bool, string) {
		n := burst(t, edge, "/turned", 40)
		return n["a"] >= 36, fmt.Sprintf("with all slots of b taken twice over, 40 requests went to %v; want nearly all at a", n)
	})
	if got := served(t, a, "/turned"); got < 36 {
		t.Errorf("a's own record shows %d of the requests it is said to have served", got)
	}
}

// The link passes through the edge.
func TestClaims_2_19_TheLinkIsRoutedThroughTheEdge(t *testing.T) {
	type seen struct {
		peer   string
		header http.Header
		sum    string
	}
	requests := make(chan seen, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		requests <- seen{r.RemoteAddr, r.Header, hex.EncodeToString(h.Sum(nil))}
		w.Write(bytes.Repeat([]byte("evenkeel"), 1<<17))
	}))
	defer server.Close()
	m := startMaster(t, `pools: {web: {servers: [{id: a, address: "`+server.Listener.Addr().String()+`"}]}}`)
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 1)

	body := make([]byte, 1<<20)
	rand.Read(body)
	var own string
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			own = c.LocalAddr().String()
		}
		return c, err
	}}
	defer transport.CloseIdleConnections()
	req, _ := http.NewRequest("POST", "http://"+edge.Addr("listen")+"/upload", bytes.NewReader(body))
	req.Header.Set("Evenkeel-Lease", "forged")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := io.ReadAll(resp.Body)
	if err != nil || len(back) != 1<<20 {
		t.Fatalf("read %d bytes of the answer, %v; want %d", len(back), err, 1<<20)
	}
	got := <-requests
	if want := sha256.Sum256(body); got.sum != hex.EncodeToString(want[:]) {
		t.Error("the body that the server got is not the one that the client sent")
	}
	if got.peer == own {
		t.Errorf("the server was connected to by the client itself, %s", own)
	}
	lease := got.header.Get("Evenkeel-Lease")
	if len(lease) != 16 || got.header.Get("Evenkeel-Edge") != "edge-1" || len(got.header.Values("Evenkeel-Lease")) != 1 {
		t.Errorf("the server was told lease %q by edge %q; want the lease's 16 digits by edge-1, and not what the client forged", lease, got.header.Get("Evenkeel-Edge"))
	}
	if !strings.Contains(got.header.Get("Via"), "evenkeel") || got.header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the server was told Via %q, X-Forwarded-For %q; want the edge and the client", got.header.Get("Via"), got.header.Get("X-Forwarded-For"))
	}
}

// The link is direct: the edge sends the client to the server, and the lease ends by
// the server's word, or when its time runs out.
func TestClaims_1_without_2_TheLinkIsDirect(t *testing.T) {
	m := startMaster(t, `pools: {web: {dispatch: true}, timed: {lease_time: 1s}}`)
	agentAdmin := freeport.Address(t)
	a := startServer(t, "a", "--agent", "http://"+agentAdmin)
	startAgent(t, m, "web", "a", a, "--admin", agentAdmin, "--hook", "http://"+a.Addr("listen")+"/dispatch", "--public", "http://localhost:"+port(a.Addr("listen")))
	edge := startEdge(t, m, "edge-1", "web", "--link", "redirect")
	awaitServers(t, m, "web", 1)

	resp := get(t, "http://"+edge.Addr("listen")+"/film/7?from=3&to=%2F9&work=0.2")
	want := "http://localhost:" + port(a.Addr("listen")) + "/film/7?from=3&to=%2F9&work=0.2"
	if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != want || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("answered %s, Location %q, Cache-Control %q; want 307, %q, no-store", resp.Status, resp.Header.Get("Location"), resp.Header.Get("Cache-Control"), want)
	}
	if n := pool(t, m, "web").Open; n != 1 {
		t.Errorf("%d leases are open before the client has gone to the server, want 1", n)
	}
	if direct := get(t, resp.Header.Get("Location")); direct.StatusCode != 200 || direct.server() != "a" {
		t.Fatalf("the server answered %s as %q", direct.Status, direct.server())
	}
	if n := served(t, a, "/film/7"); n != 1 {
		t.Errorf("the server's record shows %d requests, want 1", n)
	}
	eventually(t, func() (bool, string) {
		n := pool(t, m, "web").Open
		return n == 0, fmt.Sprintf("%d leases are open after the server said done", n)
	})

	b := startServer(t, "b")
	startAgent(t, m, "timed", "b", b)
	awaitServers(t, m, "timed", 1)
	timed := startEdge(t, m, "edge-2", "timed", "--link", "redirect")
	if resp := get(t, "http://"+timed.Addr("listen")+"/"); resp.StatusCode != http.StatusTemporaryRedirect {
		t.Fatalf("answered %s, want 307", resp.Status)
	}
	if n := server(t, m, "timed", "b").Granted; n != 1 {
		t.Errorf("%d leases were granted, want 1", n)
	}
	eventually(t, func() (bool, string) {
		n := pool(t, m, "timed").Open
		return n == 0, fmt.Sprintf("%d leases are open after their time of a second", n)
	})
}

// The master receives several load metrics from each server, and selection follows
// whichever of them tells of load.
func TestClaims_3_7_12_17_20_24_ServersReportSeveralMetrics(t *testing.T) {
	t.Parallel() // most of it is waiting
	m := startMaster(t, `pools: {web: {}, host: {}}`)
	a, b, c := startServer(t, "a", "--slots", "4"), startServer(t, "b", "--slots", "4"), startServer(t, "c", "--slots", "4")
	startScrapingAgent(t, m, "web", "a", a, "--slots", "4")
	agentB := startAgent(t, m, "web", "b", b, "--slots", "4", "--sample=false")
	startScrapingAgent(t, m, "web", "c", c, "--slots", "4")
	startAgent(t, m, "host", "d", startServer(t, "d"))
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 3)

	eventually(t, func() (bool, string) {
		got := server(t, m, "host", "d").Metrics
		return len(got) >= 5, fmt.Sprintf("an agent that samples its host has reported %v, want five metrics and more", got)
	})
	occupy(t, a, 8) // tells of it by the number of its requests
	awaitLoad(t, m, "web", "a", func(load float64) bool { return load > 6 })
	eventually(t, func() (bool, string) { // b's application tells of it by its utilisation only
		do(t, "POST", "http://"+agentB.Addr("admin")+"/v1/report", map[string]any{"metrics": map[string]float64{"application_utilization": 1}})
		load := server(t, m, "web", "b").Load
		return load > 6, fmt.Sprintf("b's load is %.1f", load)
	})
	if got := len(server(t, m, "web", "a").Metrics); got < 2 {
		t.Errorf("a has reported %d metrics, want several", got)
	}
	eventually(t, func() (bool, string) {
		n := burst(t, edge, "/", 40)
		return n["c"] >= 34, fmt.Sprintf("a is full by count and b by utilisation, and 40 requests went to %v; want nearly all at c", n)
	})
}

// No server reports: the metrics are in the edge's asks, and selection follows them.
func TestClaims_4_8_13_21_25_TheAskCarriesMetrics(t *testing.T) {
	a, b := startServer(t, "a", "--slots", "4"), startServer(t, "b", "--slots", "4")
	m := startMaster(t, fmt.Sprintf(`pools: {web: {servers: [{id: a, address: %q, slots: 4}, {id: b, address: %q, slots: 4}]}}`, a.Addr("listen"), b.Addr("listen")))
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 2)

	for _, c := range []struct{ loaded, free *proc.Process }{{a, b}, {b, a}} {
		loaded, free := name(c.loaded), name(c.free)
		setLoad(t, c.loaded, 12)
		setLoad(t, c.free, 0)
		eventually(t, func() (bool, string) {
			n := burst(t, edge, "/"+loaded, 40)
			return n[free] >= 34, fmt.Sprintf("%s is loaded, and 40 requests went to %v; want nearly all at %s", loaded, n, free)
		})
	}
	for _, s := range pool(t, m, "web").Servers {
		if s.Agent || len(s.Metrics) == 0 {
			t.Errorf("server %s: agent %v, metrics %v; want metrics without an agent", s.ID, s.Agent, s.Metrics)
		}
	}
	if resp := get(t, "http://"+edge.Addr("listen")+"/"); len(resp.Header.Values("Endpoint-Load-Metrics")) > 0 {
		t.Errorf("the client was sent the server's load: %q", resp.Header.Values("Endpoint-Load-Metrics"))
	}
	if direct := get(t, "http://"+a.Addr("listen")+"/"); direct.Header.Get("Endpoint-Load-Metrics") == "" {
		t.Error("the sample server itself sends no metrics, so this test proves nothing")
	}
}

// The master sends the selected server an indication to perform the processing; one
// that refuses is passed over.
func TestClaims_5_14_22_TheMasterDispatchesToTheServer(t *testing.T) {
	m := startMaster(t, `pools: {web: {dispatch: true}}`)
	a, b := startServer(t, "a"), startServer(t, "b", "--refuse-dispatch")
	startAgent(t, m, "web", "a", a, "--hook", "http://"+a.Addr("listen")+"/dispatch")
	agentB := startAgent(t, m, "web", "b", b, "--hook", "http://"+b.Addr("listen")+"/dispatch")
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 2)

	if n := burst(t, edge, "/job", 20); n["a"] != 20 {
		t.Errorf("b refuses, and 20 requests went to %v; want all at a", n)
	}
	dispatched := make(map[string]int64)
	for _, e := range record(t, a) {
		switch {
		case e.Kind == "dispatch" && e.Path == "/job":
			dispatched[e.Lease] = e.At
		case e.Kind == "request" && e.Path == "/job":
			if at, ok := dispatched[e.Lease]; !ok || at >= e.At {
				t.Errorf("request of lease %s came at %d, its dispatch at %d (came: %v)", e.Lease, e.At, at, ok)
			}
		}
	}
	if len(dispatched) != 20 {
		t.Errorf("a's record shows %d dispatches, want 20", len(dispatched))
	}
	refused := 0
	for _, e := range record(t, b) {
		if e.Kind == "request" {
			t.Errorf("b refused and still got request %s", e.Path)
		}
		if e.Refused {
			refused++
		}
	}
	if refused == 0 {
		t.Error("b was never asked, so this test proves nothing")
	}
	a.Kill()
	if resp := get(t, "http://"+edge.Addr("listen")+"/job"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("with no server left to accept, answered %s %s; want 503 and Retry-After", resp.Status, resp.body)
	}
	if err := agentB.Stop(proc.StopLimit); err != nil {
		t.Error(err)
	}
}

// The edge learns of the server only after the dispatch: while the server has not
// accepted, nothing reaches it and no edge is told.
func TestClaims_6_23_TheEdgeIsToldAfterTheDispatch(t *testing.T) {
	arrived, accept := make(chan string, 1), make(chan bool)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("Evenkeel-Lease")
		<-accept
	}))
	defer hook.Close()
	m := startMaster(t, `pools: {web: {dispatch: true, dispatch_limit: 20s}}`)
	a := startServer(t, "a")
	startAgent(t, m, "web", "a", a, "--hook", hook.URL)
	edge := startEdge(t, m, "edge-1", "web")
	awaitServers(t, m, "web", 1)

	answered := make(chan answer, 1)
	go func() { answered <- get(t, "http://"+edge.Addr("listen")+"/held") }()
	lease := <-arrived
	select {
	case got := <-answered:
		t.Fatalf("answered %s before the server had accepted", got.Status)
	case <-time.After(300 * time.Millisecond): // long after a faked order would have shown
	}
	if n := served(t, a, "/held"); n != 0 {
		t.Fatalf("the server has %d requests before it accepted", n)
	}
	close(accept)
	if got := <-answered; got.StatusCode != 200 || got.server() != "a" {
		t.Fatalf("answered %s by %q after the server accepted", got.Status, got.server())
	}
	for _, e := range record(t, a) {
		if e.Path == "/held" && e.Lease != lease {
			t.Errorf("the request came with lease %s, the dispatch was for %s", e.Lease, lease)
		}
	}
}

// The edge is the first balancing server and the master the second: it is the master's
// word that moves the edges' choices.
func TestClaims_9_10_15_16_EdgeFirstMasterSecond(t *testing.T) {
	a, b := startServer(t, "a"), startServer(t, "b")
	m := startMaster(t, fmt.Sprintf(`pools: {web: {servers: [{id: a, address: %q}, {id: b, address: %q}]}}`, a.Addr("listen"), b.Addr("listen")))
	edges := []*proc.Process{startEdge(t, m, "edge-1", "web"), startEdge(t, m, "edge-2", "web")}
	awaitServers(t, m, "web", 2)

	for _, c := range []struct{ drained, other string }{{"a", "b"}, {"b", "a"}} {
		if resp := do(t, "POST", m.url("/v1/pools/web/servers/"+c.drained+"/drain"), nil); resp.StatusCode/100 != 2 {
			t.Fatalf("drain %s: %s %s", c.drained, resp.Status, resp.body)
		}
		for i, edge := range edges {
			if n := burst(t, edge, "/", 20); n[c.other] != 20 {
				t.Errorf("the master drains %s, and edge %d sent 20 requests to %v", c.drained, i+1, n)
			}
		}
		do(t, "POST", m.url("/v1/pools/web/servers/"+c.drained+"/undrain"), nil)
	}
	granted := 0
	for _, s := range pool(t, m, "web").Servers {
		granted += s.Granted
	}
	if granted != 80 {
		t.Errorf("the master granted %d of the edges' 80 requests", granted)
	}
}

// The whole system: several servers, clients, edges and a master, each its own process.
func TestClaim_11_TheWholeSystem(t *testing.T) {
	m := startMaster(t, `pools: {web: {}}`)
	pids := map[int]string{m.PID(): "master"}
	var servers []*proc.Process
	for i := range 3 {
		id := fmt.Sprint("s", i)
		s := startServer(t, id, "--slots", fmt.Sprint(i+1))
		a := startScrapingAgent(t, m, "web", id, s)
		servers = append(servers, s)
		pids[s.PID()], pids[a.PID()] = id, "agent of "+id
	}
	var edges []*proc.Process
	for i := range 2 {
		e := startEdge(t, m, fmt.Sprint("edge-", i), "web")
		edges = append(edges, e)
		pids[e.PID()] = fmt.Sprint("edge ", i)
	}
	if len(pids) != 9 {
		t.Fatalf("%d processes, want 9: %v", len(pids), pids)
	}
	awaitServers(t, m, "web", 3)
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { burst(t, edges[i%2], "/whole", 50) })
	}
	clients.Wait()
	total := 0
	for _, s := range servers {
		n := served(t, s, "/whole")
		if n == 0 {
			t.Errorf("server %s served nothing", name(s))
		}
		total += n
	}
	if total != 200 {
		t.Errorf("the servers' records show %d requests, want 200", total)
	}
	eventually(t, func() (bool, string) {
		p := pool(t, m, "web")
		return p.Open == 0, fmt.Sprintf("%d leases are open at rest", p.Open)
	})
}
