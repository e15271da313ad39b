package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// What the tests do to and read from a running system.

// view is what GET /v1/pools/{pool} tells.
type view struct {
	Open    int          `json:"leases_open"`
	Waiting int          `json:"queue_length"`
	Servers []serverView `json:"servers"`
}

type serverView struct {
	ID       string         `json:"id"`
	State    string         `json:"state"`
	Agent    bool           `json:"agent"`
	InFlight int            `json:"in_flight"`
	Load     float64        `json:"load"`
	Slots    float64        `json:"slots"`
	Granted  int            `json:"granted"`
	Metrics  map[string]any `json:"metrics"`

	OtherPools []string `json:"other_pools"`
}

func pool(t testing.TB, m master, name string) (v view) {
	t.Helper()
	get(t, m.url("/v1/pools/"+name)).into(t, &v)
	return v
}

func server(t testing.TB, m master, poolName, id string) serverView {
	t.Helper()
	for _, s := range pool(t, m, poolName).Servers {
		if s.ID == id {
			return s
		}
	}
	return serverView{}
}

// awaitServers waits until a pool has n servers that are up.
func awaitServers(t testing.TB, m master, poolName string, n int) {
	t.Helper()
	eventually(t, func() (bool, string) {
		up := 0
		servers := pool(t, m, poolName).Servers
		for _, s := range servers {
			if s.State == "up" {
				up++
			}
		}
		return up == n, fmt.Sprintf("pool %s has %d servers up, want %d: %+v", poolName, up, n, servers)
	})
}

// awaitLoad waits until the master's idea of a server's load suits.
func awaitLoad(t testing.TB, m master, poolName, id string, suits func(float64) bool) {
	t.Helper()
	eventually(t, func() (bool, string) {
		load := server(t, m, poolName, id).Load
		return suits(load), fmt.Sprintf("the master thinks that %s has a load of %.2f", id, load)
	})
}

// startScrapingAgent runs an agent that reads its server's own metrics, and not those
// of the machine, which all servers of a test share.
func startScrapingAgent(t testing.TB, m master, poolName, id string, server *proc.Process, more ...string) *proc.Process {
	return startAgent(t, m, poolName, id, server, append([]string{"--sample=false", "--orca", "http://" + server.Addr("listen") + "/healthz"}, more...)...)
}

// occupy takes slots of a server by requests of its own, past the edge, until release
// is called or the test ends.
func occupy(t testing.TB, server *proc.Process, n int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	forever := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // client gives up some time
	for range n {
		clients.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+server.Addr("listen")+"/occupied", nil)
			req.Header.Set("Sample-Work", "3600")
			if resp, err := forever.Do(req); err == nil {
				resp.Body.Close()
			}
		})
	}
	release = sync.OnceFunc(func() { cancel(); clients.Wait() })
	t.Cleanup(release)
	eventually(t, func() (bool, string) {
		got := served(t, server, "/occupied")
		return got >= n, fmt.Sprintf("%d of %d requests have reached %s", got, n, name(server))
	})
	return release
}

// setLoad tells a sample server to be as busy as if it had n requests more.
func setLoad(t testing.TB, server *proc.Process, n int) {
	t.Helper()
	if resp := do(t, "POST", "http://"+server.Addr("listen")+"/load", map[string]int{"in_flight": n}); resp.StatusCode/100 != 2 {
		t.Fatalf("POST /load: %s %s", resp.Status, resp.body)
	}
}

// burst sends n short requests through an edge, eight at a time, and counts who served them.
func burst(t testing.TB, edge *proc.Process, path string, n int) map[string]int {
	t.Helper()
	var (
		mu    sync.Mutex
		by    = make(map[string]int)
		todo  = make(chan int)
		eight sync.WaitGroup
	)
	for range 8 {
		eight.Go(func() {
			for range todo {
				req, _ := http.NewRequest("GET", "http://"+edge.Addr("listen")+path, nil)
				req.Header.Set("Sample-Work", "0.01")
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("GET %s: %v", path, err)
					continue
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("GET %s: %s %s", path, resp.Status, body)
				}
				mu.Lock()
				by[resp.Header.Get("Evenkeel-Server")]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	eight.Wait()
	return by
}

// name returns a sample server's id.
func name(server *proc.Process) string { return server.Addr("id") }

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
