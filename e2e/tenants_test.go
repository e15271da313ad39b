package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Two clients that take other tenants' names for each request, and that of a tenant whose proxy is trusted, do not put
// that tenant out of its turn in a full queue; and the names that they write reach no server.
//
// The server holds its first request until the queue is as the test wants it. Then the order of the grants counts.
func TestRotatingTenantsDoNotDisplaceAProvenOne(t *testing.T) {
	const size, flood, proven, good = 40, 40, 10, "good"
	var mu sync.Mutex
	heard := make(map[string]bool) // by the server: tenants
	empty := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		heard[strings.Join(r.Header.Values("X-Tenant"), ",")] = true
		mu.Unlock()
		<-empty
		time.Sleep(50 * time.Millisecond) // the work, by which tenants are charged
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer server.Close()
	var clients sync.WaitGroup
	release := sync.OnceFunc(func() { close(empty) })
	defer func() { release(); clients.Wait() }()
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {queue: {size: %d, wait: 10m}, servers: [{id: s1, address: %q, slots: 1}]}}", size, server.Listener.Addr()))
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 127.0.0.1:0, listeners: [{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.2], routes: [{pool: web, tenant: 'header:X-Tenant', timeout: 10m}]}]}\n", m.wire))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)

	var displaced, refused atomic.Int32 // of the two clients, and of the proven tenant
	sent := 0
	send := func(from, tenant string, turnedAway *atomic.Int32) {
		sent++
		path := fmt.Sprintf("/%s/%d", from, sent)
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		clients.Go(func() {
			req, _ := http.NewRequest("GET", "http://"+e.Addr("listen")+path, nil)
			req.Header.Set("X-Tenant", tenant)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			switch body, err := io.ReadAll(resp.Body); {
			case err != nil:
				t.Error(err)
			case refusal(resp.StatusCode):
				turnedAway.Add(1)
			case resp.StatusCode != http.StatusOK || string(body) != path:
				t.Errorf("%s: got %s %q, want its own path", path, resp.Status, body)
			}
		})
	}
	rotate := func(n int) { // the two clients
		for i := range n {
			tenant := fmt.Sprint("evil-", sent)
			if i%3 == 0 {
				tenant = good
			}
			send(fmt.Sprint("127.0.0.", 3+i%2), tenant, &displaced)
		}
	}
	turnedAway := func(want int32) {
		t.Helper()
		eventually(t, func() (bool, string) {
			if n := refused.Load(); n > 0 {
				t.Fatalf("%d requests of the proven tenant were refused", n)
			}
			n := displaced.Load()
			return n == want, fmt.Sprintf("%d requests of the others were refused, want %d", n, want)
		})
	}
	rotate(1 + size + flood) // one is at the server, and the queue is full
	turnedAway(flood)
	for range proven {
		send("127.0.0.2", good, &refused)
	}
	turnedAway(flood + proven) // each took the place of another's
	rotate(flood)
	turnedAway(2*flood + proven)
	release()
	clients.Wait()

	var told struct {
		Decisions []struct {
			Request struct {
				Belief string `json:"tenant_belief"`
			}
		}
	}
	get(t, "http://"+m.admin+"/v1/pools/web/decisions?limit=100").into(t, &told)
	var order []string // of the grants
	for _, d := range slices.Backward(told.Decisions) {
		order = append(order, d.Request.Belief)
	}
	if len(order) != 1+size {
		t.Fatalf("%d requests got a server, want %d: %q", len(order), 1+size, order)
	}
	// With turns about every second one is the proven tenant's, as far as the work of each takes as long. In the order in which they
	// came, or with a turn for each name that is told, at most one is.
	inTurn := 0
	for _, belief := range order[1 : 1+2*proven] {
		if belief == "proven" {
			inTurn++
		}
	}
	if inTurn < proven/3 {
		t.Errorf("of the first %d requests of the queue %d were the proven tenant's, want about every second one: %q", 2*proven, inTurn, order)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) != 2 || !heard[good] || !heard[""] {
		t.Errorf("the server heard of %d tenants, want %q of the proxy and none of others", len(heard), good)
	}
}
