package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// heirs is an edge and the programs that take over from it, one after another. They all
// log to the first one's standard error.
type heirs struct {
	t   testing.TB
	log string // the file
	pid int    // of the present one
}

// records returns the records with a message.
func (h *heirs) records(message string) (all []map[string]any) {
	h.t.Helper()
	text, err := os.ReadFile(h.log)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var r map[string]any
		if json.Unmarshal(line, &r) == nil && r["msg"] == message {
			all = append(all, r)
		}
	}
	return all
}

// await waits until there are n records with a message, and returns the last.
func (h *heirs) await(message string, n int) map[string]any {
	h.t.Helper()
	eventually(h.t, func() (bool, string) {
		got := len(h.records(message))
		return got >= n, fmt.Sprintf("%d records say %q, want %d", got, message, n)
	})
	return h.records(message)[n-1]
}

// startHeirs runs a command whose process is the first edge.
func startHeirs(t testing.TB, cmd *exec.Cmd) *heirs {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &heirs{t: t, log: log.Name(), pid: cmd.Process.Pid}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended long ago
		<-ended
		for _, r := range h.records("a new program has taken over") {
			_ = syscall.Kill(int(r["pid"].(float64)), syscall.SIGKILL)
		}
		if t.Failed() {
			text, _ := os.ReadFile(h.log)
			t.Logf("log of the edges:\n%s", text)
		}
	})
	h.await("serving", 1)
	return h
}

// New programs take over from one another under load: clients that connect anew for
// each request, those that keep their connections, and streams, lose nothing.
func TestTakeover(t *testing.T) {
	address := echoes(t)
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", address))
	listen := freeAddress(t)
	h := startHeirs(t, exec.Command(binary, "edge", "--id", "e1", "--master", m.wire, "--listen", listen, "--admin", "off", "--pool", "web", "--access-log", "off", "--log-format", "json"))
	s := openStreams(t, listen, 5)
	kept := startTrace(t, []string{"http://" + listen + "/"}, load.LogNormal(1, 10*time.Minute, rate(100, 500), 0, 0))
	fresh := startFresh(t, listen)
	takeovers := whenLong(2, 10)
	for n := range takeovers {
		if err := syscall.Kill(h.pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		h.pid = int(h.await("a new program has taken over", n+1)["pid"].(float64))
		kept.settle(whenLong(200*time.Millisecond, time.Second))
		if n == 0 {
			s.close() // they keep the first one alive for the drain time, and have outlived its end as an edge
			h.await("stopped", 1)
		}
	}
	h.await("stopped", takeovers)
	attempts, refused := fresh()
	all := kept.everything()
	kept.stop()
	noFailures(t, all)
	for _, err := range append(s.lost, refused...) {
		t.Errorf("lost: %v", err)
	}
	n, _ := failures(all)
	figure(t, "takeover: new programs", float64(takeovers), "", "")
	figure(t, "takeover: requests on connections kept", float64(len(all)), "", "")
	figure(t, "takeover: of these failed", float64(n), "", "<=0")
	figure(t, "takeover: requests on connections of their own", float64(attempts), "", "")
	figure(t, "takeover: of these refused or failed", float64(len(refused)), "", "<=0")
	figure(t, "takeover: streams dropped", float64(len(s.lost)), "", "<=0")

	if err := syscall.Kill(h.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.await("stopped", takeovers+1)
	awaitOpen(t, m.master, "web", 0)
}

// startFresh sends requests one after another, each on a connection of its own, until stop.
func startFresh(t testing.TB, at string) (stop func() (attempts int, refused []error)) {
	end, over := make(chan struct{}), make(chan struct{})
	var attempts int
	var refused []error
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	go func() {
		defer close(over)
		for {
			select {
			case <-end:
				return
			default:
			}
			attempts++
			resp, err := once.Get("http://" + at + "/")
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %s", resp.Status)
				}
			}
			if err != nil {
				refused = append(refused, err)
			}
		}
	}()
	stopped := false
	halt := func() {
		if !stopped {
			stopped = true
			close(end)
			<-over
		}
	}
	t.Cleanup(halt)
	return func() (int, []error) { halt(); return attempts, refused }
}

// A program that does not start takes nothing over.
func TestTakeoverThatFails(t *testing.T) {
	m := startFixedMaster(t, "pools: {web: {}}")
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 'off', listeners: [{listen: 127.0.0.1:0, routes: [{pool: web}]}]}\n", m.wire))
	h := startHeirs(t, exec.Command(binary, "edge", "--config", name, "--log-format", "json"))
	listen := h.records("serving")[0]["listen"].(string)
	mustWrite(t, name, "edge: {nonsense: 1}\n")
	if err := syscall.Kill(h.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	h.await("no new program has taken over; this one goes on", 1)
	if resp := get(t, "http://"+listen+"/"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s, want 503: the pool has no servers", resp.Status)
	}
}

// A service manager opens the sockets, and the edge takes them.
func TestTakeoverFromAServiceManager(t *testing.T) {
	s := startServer(t, "a")
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", s.Addr("listen")))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	at := l.Addr().String() // still listened on here: without the socket, it would be in use
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, binary, "edge", "--id", "e1", "--master", m.wire, "--listen", at, "--admin", "off", "--pool", "web", "--log-format", "json")
	cmd.ExtraFiles = []*os.File{socket}
	startHeirs(t, cmd)
	if resp := get(t, "http://"+at+"/", "Sample-Work", "0.001"); resp.StatusCode != http.StatusOK || !strings.Contains(resp.server(), "a") {
		t.Errorf("got %s from %q, want 200 from a", resp.Status, resp.server())
	}
}
