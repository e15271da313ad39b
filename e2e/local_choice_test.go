package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/lag"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Where an ask takes longer than it wins, the edge chooses servers itself and tells the master of each; and it asks
// again when asks are fast. A proxy between edge and master makes them slow.
func TestLocalChoices(t *testing.T) {
	a, b := startServer(t, "a", "--slots", "8"), startServer(t, "b", "--slots", "8")
	m := startMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}, {id: b, address: %q}]}}\n", a.Addr("listen"), b.Addr("listen")))
	far, err := lag.Listen("127.0.0.1:0", m.Addr("listen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(far.Close)
	far.Set(50 * time.Millisecond)
	e := start(t, "edge", "--id", "e1", "--master", far.Addr(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "web", "--access-log", "off")
	awaitServers(t, m, "web", 2)

	choices := func() string {
		n, _ := metric(t, e.Addr("admin"), `evenkeel_edge_local_choices_total{pool="web"}`)
		return n
	}
	eventually(t, func() (bool, string) {
		before := choices()
		sendWork(t, e, 64)
		return choices() != before, "the edge asks, though asks are slow"
	})
	if !strings.Contains(e.Log(), "choosing servers without asking") {
		t.Errorf("the edge does not log that it chooses itself:\n%s", e.Log())
	}

	// The ledger has what the edge has chosen, and says so.
	eventually(t, func() (bool, string) {
		awaitOpen(t, m, "web", 0)
		id, release := holdRequest(t, e.Addr("listen"))
		awaitOpen(t, m, "web", 1)
		decisions := string(get(t, m.url("/v1/requests/"+id)).body)
		release()
		return strings.Contains(decisions, "chosen by its edge"), decisions // not so if it is one of those that ask now and then
	})
	awaitOpen(t, m, "web", 0)
	if told := string(get(t, m.url("/metrics")).body); strings.Contains(told, `evenkeel_local_choices_total{pool="web"} 0`) || !strings.Contains(told, `evenkeel_local_choices_total{pool="web"} `) {
		t.Error("the master has counted no local choice")
	}

	far.Set(0)
	eventually(t, func() (bool, string) {
		before := choices()
		sendWork(t, e, 64) // of which one at most would ask if the edge chose itself
		return choices() == before, "the edge chooses itself, though asks are fast"
	})
	if !strings.Contains(e.Log(), "asking the master for servers again") {
		t.Errorf("the edge does not log that it asks again:\n%s", e.Log())
	}
}

// sendWork has eight clients send n requests of a fifth of a second: on a busy machine an ask takes milliseconds, and is to be fast beside them.
func sendWork(t *testing.T, edge *proc.Process, n int) {
	t.Helper()
	var eight sync.WaitGroup
	for range 8 {
		eight.Go(func() {
			for range n / 8 {
				req, _ := http.NewRequest("GET", "http://"+edge.Addr("listen")+"/", nil)
				req.Header.Set("Sample-Work", "0.2")
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
					t.Errorf("got %s, want 200", resp.Status)
				}
			}
		})
	}
	eight.Wait()
}

// holdRequest sends a request that takes an hour, until release is called. It returns its id.
func holdRequest(t *testing.T, edge string) (id string, release func()) {
	t.Helper()
	id = fmt.Sprintf("held-%d", held.Add(1))
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+edge+"/held", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sample-Work", "3600")
	req.Header.Set("X-Request-Id", id)
	var sent sync.WaitGroup
	sent.Go(func() {
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	})
	release = sync.OnceFunc(func() { cancel(); sent.Wait() })
	t.Cleanup(release)
	return id, release
}

var held atomic.Int64
