package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// counted is a server that counts its requests, and fails them if it is told to.
type counted struct {
	*httptest.Server
	requests atomic.Int64
	failing  atomic.Bool
}

func newCounted(t *testing.T) *counted {
	c := new(counted)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c.requests.Add(1)
		w.Header().Set("Evenkeel-Server", "counted")
		if c.failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// post sends so many requests, one after another, to one edge after the other.
func post(t *testing.T, n int, edges ...*proc.Process) {
	t.Helper()
	for i := range n {
		if got := do(t, "POST", "http://"+edges[i%len(edges)].Addr("listen")+"/", nil); got.server() == "" {
			t.Fatalf("request %d got %s %s, from no server", i, got.Status, got.body)
		}
	}
}

// Of what three edges send, the servers with a label get exactly their share, as they count themselves. When they fail, they are held back
// and status says so; with another share they are tried again.
func TestACanaryOverAllEdges(t *testing.T) {
	t.Parallel()
	a, b, v := newCounted(t), newCounted(t), newCounted(t)
	config := func(percent int) string {
		return fmt.Sprintf(`pools: {web: {policy: round-robin, share: {version=2: %d%%}, servers: [{id: a, address: %q}, {id: b, address: %q}, {id: v, address: %q, labels: {version: "2"}}]}}`,
			percent, a.Listener.Addr(), b.Listener.Addr(), v.Listener.Addr())
	}
	path := file(t, config(5))
	m := master{Process: start(t, "master", "--config", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")}
	var edges []*proc.Process
	for i := range 3 {
		edges = append(edges, startEdge(t, m, fmt.Sprintf("e%d", i), "web"))
	}
	ready(t, edges...)
	post(t, 300, edges...)
	if got := v.requests.Load(); got != 15 {
		t.Fatalf("of 300 requests the servers with version=2 got %d, want 15", got)
	}
	if others := a.requests.Load() + b.requests.Load(); others != 285 {
		t.Fatalf("of 300 requests the others got %d, want 285", others)
	}

	v.failing.Store(true)
	post(t, 400, edges...)
	failed := v.requests.Load() - 15
	if failed < 4 || failed >= 20 {
		t.Fatalf("while it failed the canary got %d of 400 requests, want some until it is held back, and fewer than its 20", failed)
	}
	said := string(get(t, m.url("/v1/status")).body)
	if want := "pool web: version=2: 5%, held back since "; !strings.Contains(said, want) || !strings.Contains(said, "of its requests failed") {
		t.Errorf("status says\n%s\nwant %q, and why", said, want)
	}
	body := string(get(t, m.url("/metrics")).body)
	for _, want := range []string{`evenkeel_canary_held_back{pool="web"} 1`, `evenkeel_server_out{pool="web",server="v",reason="canary-held-back"} 1`, `evenkeel_canary_share_ratio{pool="web"} 0.05`} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	eventually(t, func() (bool, string) { return strings.Contains(m.Log(), "the canary is held back"), "it is not logged" })

	v.failing.Store(false)
	before := v.requests.Load()
	post(t, 20, edges...)
	if got := v.requests.Load(); got != before {
		t.Errorf("held back the canary got %d of 20 requests", got-before)
	}
	mustWrite(t, path, config(50))
	if err := m.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(string(get(t, m.url("/metrics")).body), `evenkeel_canary_share_ratio{pool="web"} 0.5`), "the share is still the former one"
	})
	post(t, 20, edges...)
	if got := v.requests.Load(); got != before+10 {
		t.Errorf("with a share of 50 %% the canary got %d of 20 requests, want 10", got-before)
	}
}

// A backup gets requests while no other server of the pool is up.
func TestABackupStandsIn(t *testing.T) {
	t.Parallel()
	a, x := newCounted(t), newCounted(t)
	m := startMaster(t, withBackup(a, x))
	e := startEdge(t, m, "e", "web")
	ready(t, e)
	expectBackup(t, e, a, x)
}

// So it does without a master.
func TestABackupStandsInWithoutAMaster(t *testing.T) {
	t.Parallel()
	a, x := newCounted(t), newCounted(t)
	m := startMaster(t, withBackup(a, x))
	e := startEdge(t, m, "e", "web")
	ready(t, e)
	m.Kill()
	degraded(t, e)
	expectBackup(t, e, a, x)
}

// expectBackup expects that the backup x gets nothing until the server a is gone, and then everything.
func expectBackup(t *testing.T, e *proc.Process, a, x *counted) {
	t.Helper()
	post(t, 20, e)
	if got, backup := a.requests.Load(), x.requests.Load(); got != 20 || backup != 0 {
		t.Fatalf("of 20 requests the server got %d, its backup %d", got, backup)
	}
	a.Close()
	post(t, 20, e)
	if got := x.requests.Load(); got != 20 {
		t.Errorf("with the server gone the backup got %d of 20 requests", got)
	}
}

func withBackup(a, x *counted) string {
	return fmt.Sprintf(`pools: {web: {servers: [{id: a, address: %q}, {id: x, address: %q, backup: true}]}}`, a.Listener.Addr(), x.Listener.Addr())
}

// ready waits until the edges can ask.
func ready(t *testing.T, edges ...*proc.Process) {
	t.Helper()
	for _, e := range edges {
		eventually(t, func() (bool, string) {
			answer := get(t, "http://"+e.Addr("admin")+"/readyz")
			return answer.StatusCode == http.StatusOK && !strings.HasPrefix(string(answer.body), "degraded"), fmt.Sprintf("readyz says %d %q", answer.StatusCode, answer.body)
		})
	}
}
