package e2e

import (
	"bytes"
	"context"
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

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
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

// New programs take over from one another under load: clients that open a new connection for each request,
// those that keep their connections, and streams, lose nothing.
func TestTakeover(t *testing.T) {
	address := startServer(t, "a", "--slots", "16").Addr("listen")
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", address))
	listen := freeport.Address(t)
	h := startHeirs(t, exec.Command(binary, append([]string{"edge", "--id", "e1", "--master", m.wire, "--listen", listen, "--admin", "off", "--pool", "web", "--access-log", "off", "--log-format", "json"}, m.proofs(t, "e1")...)...))
	s := openStreams(t, listen, 5)
	kept := startTrace(t, []string{"http://" + listen + "/"}, mixed(load.LogNormal(1, 10*time.Minute, rate(100, 500), 0, 0)))
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

// New programs take over a master and an edge that are one process: no connection is
// refused and no request fails, also where servers come by agents; what an operator drained
// stays drained; the old program finishes what it has, and the new one's ledger is its own.
func TestTakeoverOfRun(t *testing.T) {
	held, joined, drained := startServer(t, "held"), startServer(t, "joined", "--slots", "16"), startServer(t, "drained")
	listen, wire, admin := freeport.Address(t), freeport.Address(t), freeport.Address(t)
	name := file(t, fmt.Sprintf("master: {listen: %q, admin: %q}\npools:\n  web: {servers: [{id: drained, address: %q}]}\n  held: {servers: [{id: held, address: %q}]}\n"+
		"edge: {listeners: [{listen: %q, routes: [{path: /held, pool: held}, {pool: web}]}]}\n", wire, admin, drained.Addr("listen"), held.Addr("listen"), listen))
	h := startHeirs(t, exec.Command(binary, "run", "--config", name, "--access-log", "off", "--log-format", "json"))
	start(t, "agent", "--master", wire, "--pool", "web", "--id", "joined", "--address", joined.Addr("listen"), "--admin", "off")
	at := func(path string) string { return "http://" + admin + path }
	awaitUp := func() {
		eventually(t, func() (bool, string) {
			var v view
			get(t, at("/v1/pools/web")).into(t, &v)
			states := make(map[string]string)
			for _, s := range v.Servers {
				states[s.ID] = s.State
			}
			return states["joined"] == "up" && states["drained"] == "draining", fmt.Sprintf("the servers are %v", states)
		})
	}
	eventually(t, func() (bool, string) {
		resp := do(t, "POST", at("/v1/pools/web/servers/drained/drain"), nil)
		return resp.StatusCode < 300, "the drain got " + resp.Status
	})
	awaitUp()
	kept := startTrace(t, []string{"http://" + listen + "/"}, mixed(load.LogNormal(1, 10*time.Minute, rate(100, 500), 0, 0)))
	fresh := startFresh(t, listen)
	takeovers := whenLong(2, 10)
	for n := range takeovers {
		finish := finishes(t, "http://"+listen+"/held")
		eventually(t, func() (bool, string) {
			got := served(t, held, "/held")
			return got == n+1, fmt.Sprintf("%d long requests have reached their server, want %d", got, n+1)
		})
		if err := syscall.Kill(h.pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		h.pid = int(h.await("a new program has taken over", n+1)["pid"].(float64))
		awaitUp()
		kept.settle(whenLong(200*time.Millisecond, time.Second))
		finish()
		h.await("stopped", n+1)
	}
	attempts, refused := fresh()
	all := kept.everything()
	kept.stop()
	noFailures(t, all)
	for _, err := range refused {
		t.Errorf("lost: %v", err)
	}
	eventually(t, func() (bool, string) {
		var v view
		get(t, at("/v1/pools/web")).into(t, &v)
		return v.Open == 0, fmt.Sprintf("%d leases are open at rest", v.Open)
	})
	n, _ := failures(all)
	figure(t, "takeover of run: new programs", float64(takeovers), "", "")
	figure(t, "takeover of run: requests on connections kept", float64(len(all)), "", "")
	figure(t, "takeover of run: of these failed", float64(n), "", "<=0")
	figure(t, "takeover of run: requests on connections of their own", float64(attempts), "", "")
	figure(t, "takeover of run: of these refused or failed", float64(len(refused)), "", "<=0")
}

// finishes sends a long request, and returns what waits for its answer and wants it good.
func finishes(t testing.TB, url string) (wait func()) {
	status := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set("Sample-Work", "1.5")
		resp, err := client.Do(req)
		if err != nil {
			status <- err.Error()
			return
		}
		resp.Body.Close()
		status <- resp.Status
	}()
	return func() {
		t.Helper()
		if got := <-status; got != "200 OK" {
			t.Errorf("a request that was under way when a new program took over got %s", got)
		}
	}
}

// startFresh sends requests one after another, each on a connection of its own, until stop.
func startFresh(t testing.TB, at string) (stop func() (attempts int, refused []error)) {
	end, over := make(chan struct{}), make(chan struct{})
	var attempts int
	var refused []error
	sender := load.NewSender(load.Limits{Time: 2 * time.Minute})
	go func() {
		defer close(over)
		defer sender.Close()
		for {
			select {
			case <-end:
				return
			default:
			}
			attempts++
			if o := sender.Do(context.Background(), load.Arrival{URL: "http://" + at + "/", Kind: load.Fresh}); o.Err != nil {
				refused = append(refused, o.Err)
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
	h := startHeirs(t, exec.Command(binary, append([]string{"edge", "--config", name, "--log-format", "json"}, m.proofs(t, "e1")...)...))
	listen := h.records("serving")[0]["listen"].(string)
	mustWrite(t, name, "edge: {nonsense: 1}\n")
	if err := syscall.Kill(h.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	h.await("the new program did not take over; this one continues", 1)
	if resp := get(t, "http://"+listen+"/"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s, want 503: the pool has no servers", resp.Status)
	}
}

// A service manager opens the sockets, and an edge takes them, alone or with its master.
func TestTakeoverFromAServiceManager(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := startServer(t, "a")
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: a, address: %q}]}}", s.Addr("listen")))
	for name, args := range map[string][]string{
		"edge": append([]string{"edge", "--id", "e1", "--master", m.wire, "--pool", "web"}, m.proofs(t, "e1")...),
		"run":  {"run", "--server", "http://" + s.Addr("listen") + ",id=a"},
	} {
		t.Run(name, func(t *testing.T) {
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
			args = append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, binary}, append(args, "--listen", at, "--admin", "off", "--log-format", "json")...)
			cmd := exec.Command("sh", args...)
			cmd.ExtraFiles = []*os.File{socket}
			h := startHeirs(t, cmd)
			for n := range 2 {
				if resp := get(t, "http://"+at+"/", "Sample-Work", "0.001"); resp.StatusCode != http.StatusOK || !strings.Contains(resp.server(), "a") {
					t.Errorf("got %s from %q, want 200 from a", resp.Status, resp.server())
				}
				if n == 0 { // and handed on they work as well
					if err := syscall.Kill(h.pid, syscall.SIGUSR2); err != nil {
						t.Fatal(err)
					}
					h.await("stopped", 1)
				}
			}
		})
	}
}
