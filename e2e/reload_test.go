package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// What is open outlives reloads and new programs.

// streams are open WebSockets through an edge that say something all the time.
type streams struct {
	end   chan struct{}
	over  sync.WaitGroup
	mu    sync.Mutex
	lines int
	lost  []error
}

func openStreams(t testing.TB, at string, n int) *streams {
	t.Helper()
	s := &streams{end: make(chan struct{})}
	for i := range n {
		ws, err := echo.Dial(at, "/ws", fmt.Sprintf("stream-%d", i), time.Now().Add(10*time.Minute))
		if err != nil {
			t.Fatalf("open a WebSocket: %v", err)
		}
		s.over.Go(func() {
			defer ws.Close()
			s.talk(ws)
		})
	}
	t.Cleanup(func() { s.close() })
	return s
}

func (s *streams) talk(ws *echo.Stream) {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		err := ws.Say(30)
		s.mu.Lock()
		s.lines++
		if err != nil {
			s.lost = append(s.lost, err)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-s.end:
			return
		case <-pause.C:
		}
	}
}

// close ends the streams and returns how many had been dropped before.
func (s *streams) close() int {
	select {
	case <-s.end:
	default:
		close(s.end)
	}
	s.over.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lost)
}

// The edge's file is reloaded again and again under load, with streams open that
// outlive the drain time by far: nothing is dropped.
func TestReloadUnderLoad(t *testing.T) {
	address := startServer(t, "a", "--slots", "16").Addr("listen")
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", address))
	listen := freeport.Address(t)
	text := func(n int) string {
		return fmt.Sprintf("edge:\n  id: e1\n  masters: [%q]\n  admin: 127.0.0.1:0\n  drain_time: 100ms\n  listeners:\n    - {listen: %q, header_count: %d, routes: [{pool: web}]}\n", m.wire, listen, 100+n)
	}
	name := file(t, text(0))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)
	const open = 10
	s := openStreams(t, listen, open)
	r := startTraffic(t, rate(200, 1000), 0, e)
	r.settle(200 * time.Millisecond)
	reloads := whenLong(10, 100)
	for n := range reloads {
		mustWrite(t, name, text(n+1))
		// The log keeps its last lines only, so the edge's word is what its settings do.
		if err := e.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		awaitHeaderLimit(t, listen, 101+n)
	}
	r.settle(500 * time.Millisecond)
	all := r.everything()
	r.stop()
	noFailures(t, all)
	dropped := s.close()
	for _, err := range s.lost {
		t.Errorf("a stream was dropped: %v", err)
	}
	n, _ := failures(all)
	figure(t, "reload: reloads", float64(reloads), "", "")
	figure(t, "reload: requests meanwhile", float64(len(all)), "", "")
	figure(t, "reload: requests that failed", float64(n), "", "<=0")
	figure(t, "reload: open WebSocket streams", open, "", "")
	figure(t, "reload: lines that they carried", float64(s.lines), "", "")
	figure(t, "reload: streams dropped", float64(dropped), "", "<=0")
}

// awaitHeaderLimit waits until the edge takes so many header lines and no more.
func awaitHeaderLimit(t testing.TB, at string, most int) {
	t.Helper()
	eventually(t, func() (bool, string) {
		few, many := headerLines(t, at, most), headerLines(t, at, most+1)
		return few == http.StatusOK && many == http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("%d lines got %d, one more %d", most, few, many)
	})
}

// headerLines sends a request with n header lines and returns the status.
func headerLines(t testing.TB, at string, n int) int {
	t.Helper()
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+strings.Repeat("X: y\r\n", n-2)+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatalf("a request during reloads: %v", err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A pool that the master has just been given is served once the edge's file routes to it and is
// read anew. The requests of the other pool, and its streams, notice nothing; neither when the
// new pool goes again.
func TestAReloadedEdgeRoutesToANewPool(t *testing.T) {
	a, b := startServer(t, "a", "--slots", "16"), startServer(t, "b")
	pools := func(more string) string {
		return fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}%s}", a.Addr("listen"), more)
	}
	m := startFixedMaster(t, pools(""))
	listen := freeport.Address(t)
	routes := func(more string) string {
		return fmt.Sprintf("edge:\n  id: e1\n  masters: [%q]\n  admin: 127.0.0.1:0\n  listeners:\n    - {listen: %q, routes: [%s{pool: web}]}\n", m.wire, listen, more)
	}
	name := file(t, routes(""))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)
	s := openStreams(t, listen, 4)
	r := startTraffic(t, rate(100, 1000), 0, e)
	r.settle(200 * time.Millisecond)
	isServedBy := func(server string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			got := get(t, "http://"+listen+"/new/x")
			return got.StatusCode == http.StatusOK && got.Header.Get("Evenkeel-Server") == server,
				fmt.Sprintf("/new/x: %s by %q, want 200 by %s", got.Status, got.Header.Get("Evenkeel-Server"), server)
		})
	}
	for range whenLong(2, 20) {
		mustWrite(t, m.file, pools(fmt.Sprintf(", new: {servers: [{id: b, address: %q}]}", b.Addr("listen"))))
		if err := m.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, name, routes("{path: /new, pool: new}, "))
		if err := e.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		isServedBy("b")
		mustWrite(t, name, routes(""))
		if err := e.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		isServedBy("a")
	}
	all := r.everything()
	r.stop()
	noFailures(t, all)
	if dropped := s.close(); dropped > 0 {
		t.Errorf("%d streams were dropped: %v", dropped, s.lost)
	}
}

// A pool is removed from the master's file and named again: the agents, which wait on their
// connections, are told, and the pool serves again.
func TestAgentsAreBackWhenTheirPoolIs(t *testing.T) {
	t.Parallel()
	with, without := "pools: {web: {}, other: {}}", "pools: {other: {}}"
	m := startFixedMaster(t, with)
	var agents []*proc.Process
	for _, id := range []string{"r1", "r2", "r3"} {
		agents = append(agents, startAgent(t, m.master, "web", id, startServer(t, id)))
	}
	e := edgeAt(t, m, "e1", "web")
	reload := func(text string) {
		t.Helper()
		mustWrite(t, m.file, text)
		if err := m.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	allUp := func() {
		t.Helper()
		eventually(t, func() (bool, string) {
			text := string(get(t, m.url("/v1/pools/web")).body)
			return strings.Count(text, `"state":"up"`) == len(agents), "want 3 servers up: " + text
		})
		if got := get(t, "http://"+e.Addr("listen")+"/"); got.StatusCode != http.StatusOK {
			t.Errorf("a request got %s, want 200", got.Status)
		}
	}
	allUp()
	for round := range 2 {
		reload(without)
		for _, a := range agents {
			eventually(t, func() (bool, string) {
				return strings.Count(a.Log(), "the server waits for it") == round+1, "the agent does not wait for its pool"
			})
			if got := get(t, "http://"+a.Addr("admin")+"/readyz"); got.StatusCode == http.StatusOK {
				t.Errorf("an agent whose pool is unknown is ready: %s", got.body)
			}
		}
		reload(with)
		allUp()
	}
}
