package agent

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
)

// words is a Sender that passes on what is said of the server.
type words struct {
	telling
	said chan string
}

func (w words) Serving(problem string) { w.said <- problem }

// checking starts an agent that checks an address as quickly as it may.
func checking(t *testing.T, address string, check probe.Check) (*Agent, chan string) {
	t.Helper()
	check.Interval = probe.Shortest
	w := words{said: make(chan string, 100)}
	a, err := New(Config{Server: "s", Health: Health{Address: address, Check: check}}, w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a, w.said
}

// expectWord waits for what is said next.
func expectWord(t *testing.T, said chan string, want string) {
	t.Helper()
	select {
	case got := <-said:
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Fatalf("masters are told %q, want %q", got, want)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("masters are told nothing, want %q", want)
	}
}

// An application that does not run is down before masters hear of it, up once it runs, and
// down again when it ends.
func TestHealthByTCP(t *testing.T) {
	address := freeport.Address(t)
	a, said := checking(t, address, probe.Check{})
	<-a.Checked()
	expectWord(t, said, "nothing listens at "+address)
	if _, page := call(a, "GET", "/metrics", "", ""); !strings.Contains(page, "evenkeel_agent_server_healthy 0") {
		t.Errorf("down, and /metrics has no evenkeel_agent_server_healthy 0:\n%s", page)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	expectWord(t, said, "")
	if _, page := call(a, "GET", "/metrics", "", ""); !strings.Contains(page, "evenkeel_agent_server_healthy 1") {
		t.Errorf("up, and /metrics has no evenkeel_agent_server_healthy 1:\n%s", page)
	}
	l.Close()
	expectWord(t, said, "nothing listens at")
}

func TestHealthByHTTP(t *testing.T) {
	var status atomic.Int64
	status.Store(200)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.WriteHeader(int(status.Load()))
		}
	}))
	defer s.Close()
	a, said := checking(t, s.Listener.Addr().String(), probe.Check{HTTP: "/healthz"})
	<-a.Checked()
	if len(said) != 0 {
		t.Fatalf("healthy from the start, yet masters are told %q", <-said)
	}
	status.Store(503)
	expectWord(t, said, "GET /healthz answered 503")
	status.Store(200)
	expectWord(t, said, "")
}

func TestNoHealth(t *testing.T) {
	a, err := New(Config{Server: "s"}, telling{})
	if err != nil {
		t.Fatal(err)
	}
	<-a.Checked()
	if _, page := call(a, "GET", "/metrics", "", ""); strings.Contains(page, "evenkeel_agent_server_healthy") {
		t.Error("nothing is checked, and /metrics tells of it")
	}
}
