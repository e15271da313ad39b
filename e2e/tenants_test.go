package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Two clients that take other tenants' names for each request, and that of a tenant whose proxy is trusted, do not put
// that tenant out of its turn in a full queue; and the names that they write reach no server.
func TestRotatingTenantsDoNotDisplaceAProvenOne(t *testing.T) {
	const answers, good = 120, "good"
	var mu sync.Mutex
	told := make(map[string]bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		told[strings.Join(r.Header.Values("X-Tenant"), ",")] = true
		mu.Unlock()
		time.Sleep(4 * time.Millisecond) // the work
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer server.Close()
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {queue: {size: 40, wait: 5s}, servers: [{id: s1, address: %q, slots: 1}]}}", server.Listener.Addr()))
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 127.0.0.1:0, listeners: [{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.2], routes: [{pool: web, tenant: 'header:X-Tenant'}]}]}\n", m.wire))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)

	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var wrong atomic.Int32
	sender := func(from string, connections int, tenant func(n int) string, status func(int)) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: connections}}
		var n atomic.Int32
		for range connections {
			clients.Go(func() {
				for ctx.Err() == nil {
					i := int(n.Add(1))
					path := fmt.Sprintf("/%s/%d", from, i)
					req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+e.Addr("listen")+path, nil)
					req.Header.Set("X-Tenant", tenant(i))
					resp, err := client.Do(req)
					if err != nil {
						continue // the end of the test
					}
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err == nil && resp.StatusCode == http.StatusOK && string(body) != path {
						wrong.Add(1)
					}
					if err == nil {
						status(resp.StatusCode)
					}
					if refusal(resp.StatusCode) {
						time.Sleep(5 * time.Millisecond) // both sides share this machine
					}
				}
			})
		}
		t.Cleanup(client.CloseIdleConnections)
	}
	var served, refused, others, turnedAway atomic.Int32
	for _, from := range []string{"127.0.0.3", "127.0.0.4"} {
		sender(from, 40, func(n int) string {
			if n%3 == 0 {
				return good
			}
			return fmt.Sprint("evil-", from, n)
		}, func(status int) {
			switch {
			case status == http.StatusOK:
				others.Add(1)
			case refusal(status):
				turnedAway.Add(1)
			}
		})
	}
	eventually(t, func() (bool, string) {
		n := turnedAway.Load()
		return n > 10, fmt.Sprintf("%d requests were refused", n)
	}) // the queue is full
	done := make(chan struct{})
	before := others.Load()
	var after atomic.Int32
	sender("127.0.0.2", 3, func(int) string { return good }, func(status int) {
		switch {
		case status != http.StatusOK:
			refused.Add(1)
		case served.Add(1) == answers:
			after.Store(others.Load())
			close(done)
		}
	})
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("the proven tenant had %d answers in 30 s, want %d", served.Load(), answers)
	}
	stop()
	clients.Wait()
	if share := float64(answers) / float64(answers+after.Load()-before); share < .4 {
		t.Errorf("the proven tenant had %.2f of the answers, want about half", share)
	}
	if n := refused.Load(); n > 0 {
		t.Errorf("%d requests of the proven tenant were refused", n)
	}
	if wrong.Load() > 0 {
		t.Errorf("%d answers were another request's", wrong.Load())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 || !told[good] || !told[""] {
		t.Errorf("the server was told %d tenants, want %q of the proxy and none of others", len(told), good)
	}
}
