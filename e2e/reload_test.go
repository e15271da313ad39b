package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What is open outlives reloads and new programs.

// echoes is a server that answers an upgrade and then every line with the same.
func echoes(t testing.TB) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		nc, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			line, err := both.ReadString('\n')
			if err != nil {
				return
			}
			if _, err := io.WriteString(nc, line); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// streams are open tunnels through an edge that say something all the time.
type streams struct {
	t     testing.TB
	end   chan struct{}
	over  sync.WaitGroup
	mu    sync.Mutex
	lines int
	lost  []error
}

func openStreams(t testing.TB, at string, n int) *streams {
	t.Helper()
	s := &streams{t: t, end: make(chan struct{})}
	for i := range n {
		nc, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(10 * time.Minute))
		_, _ = fmt.Fprintf(nc, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		in := bufio.NewReader(nc)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: got %v, %v", resp, err)
		}
		s.over.Go(func() {
			defer nc.Close()
			s.talk(nc, in, i)
		})
	}
	t.Cleanup(func() { s.close() })
	return s
}

func (s *streams) talk(nc net.Conn, in *bufio.Reader, i int) {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for n := 0; ; n++ {
		want := fmt.Sprintf("stream %d line %d\n", i, n)
		_, err := io.WriteString(nc, want)
		if err == nil {
			var got string
			if got, err = in.ReadString('\n'); err == nil && got != want {
				err = fmt.Errorf("got %q, want %q", got, want)
			}
		}
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

// The edge's file is read anew again and again under load, with streams open that
// outlive the drain time by far: nothing is dropped.
func TestReloadUnderLoad(t *testing.T) {
	address := echoes(t)
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", address))
	listen := freeAddress(t)
	text := func(n int) string {
		return fmt.Sprintf("edge:\n  id: e1\n  masters: [%q]\n  admin: 127.0.0.1:0\n  drain_time: 100ms\n  listeners:\n    - {listen: %q, header_count: %d, routes: [{pool: web}]}\n", m.wire, listen, 100+n)
	}
	name := file(t, text(0))
	e := start(t, "edge", "--config", name, "--access-log", "off")
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
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+strings.Repeat("X: y\r\n", n-2)+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatalf("a request during reloads: %v", err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
