package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
)

// These tests run against programs of other projects. Without them they say so and are
// skipped; EVENKEEL_PEERS=required makes that a failure.

// peer finds a program, or skips the test.
func peer(t testing.TB, name string) string {
	t.Helper()
	path, err := peers.Find(name)
	if err == nil {
		return path
	}
	if os.Getenv("EVENKEEL_PEERS") == "required" {
		t.Fatal(err)
	}
	t.Skipf("SKIPPED: %v", err)
	return ""
}

// background runs a foreign program until the test ends.
func background(t testing.TB, address string, program string, args ...string) (kill func()) {
	t.Helper()
	return backgroundTo(t, nil, address, program, args...)
}

// backgroundTo gives the program somewhere to write its output to, which is its own
// from then on; nil: its log.
func backgroundTo(t testing.TB, stdout *os.File, address string, program string, args ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command(program, args...)
	log := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if stdout != nil {
		cmd.Stdout = stdout
		defer stdout.Close()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
	})
	t.Cleanup(kill)
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			said, _ := os.ReadFile(log)
			return false, fmt.Sprintf("%s: %v\n%s", program, err, said)
		}
		c.Close()
		return true, ""
	})
	return kill
}

func startNginx(t testing.TB, id string) (address string) {
	t.Helper()
	nginx := peer(t, "nginx")
	address = freeport.Address(t)
	dir := t.TempDir()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; location / { add_header Evenkeel-Server %[3]s; return 200 "served by %[3]s\n"; } }
}`, dir, address, id)
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, address, nginx, "-c", name, "-p", dir)
	return address
}

// Traffic of a foreign client to foreign servers: nginx, Python and Node behind run.
func TestPeersBehindRun(t *testing.T) {
	curl := peer(t, "curl")
	python, node := peer(t, "python3"), peer(t, "node")
	pythonAddress, nodeAddress := freeport.Address(t), freeport.Address(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("served by python\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, pythonAddress, python, "-m", "http.server", "--bind", "127.0.0.1", "--protocol", "HTTP/1.1", "--directory", dir, port(pythonAddress))
	background(t, nodeAddress, node, "-e", `require("http").createServer((q, r) => r.end("served by node\n")).listen(`+port(nodeAddress)+`, "127.0.0.1")`)
	nginxAddress := startNginx(t, "nginx")
	run := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--policy", "round-robin",
		"--server", "http://"+nginxAddress, "--server", "http://"+pythonAddress, "--server", "http://"+nodeAddress)
	by := make(map[string]int)
	for range 12 {
		out, err := exec.Command(curl, "-sSf", "--max-time", "120", "http://"+run.Addr("listen")+"/").CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		by[strings.TrimSpace(string(out))]++
	}
	for _, want := range []string{"served by nginx", "served by python", "served by node"} {
		if by[want] != 4 {
			t.Errorf("%q answered %d of 12 requests in turn, want 4: %v", want, by[want], by)
		}
	}
}

// wrk drives an edge, a master and two nginxs, as separate processes, without a fault.
func TestPeerWrk(t *testing.T) {
	wrk := peer(t, "wrk")
	a, b := startNginx(t, "a"), startNginx(t, "b")
	m := startMaster(t, fmt.Sprintf(`pools: {web: {servers: [{id: a, address: %q}, {id: b, address: %q}]}}`, a, b))
	edge := startEdge(t, m, "edge-1", "web", "--access-log", "off")
	awaitServers(t, m, "web", 2)
	out, err := exec.Command(wrk, "-t1", "-c32", "-d2s", "--timeout", "60s", "http://"+edge.Addr("listen")+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "Socket errors") || strings.Contains(string(out), "Non-2xx") {
		t.Errorf("wrk saw faults:\n%s", out)
	}
	found := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("wrk did not say how many requests it sent:\n%s", out)
	}
	sent, _ := strconv.Atoi(string(found[1]))
	granted := 0
	for _, s := range pool(t, m, "web").Servers {
		if s.Granted == 0 {
			t.Errorf("server %s was given nothing", s.ID)
		}
		granted += s.Granted
	}
	if granted < sent {
		t.Errorf("wrk got %d answers, the master granted %d", sent, granted)
	}
	eventually(t, func() (bool, string) {
		n := pool(t, m, "web").Open
		return n == 0, fmt.Sprintf("%d leases are open at rest", n)
	})
}

// HAProxy can stand before the edges, as many people's front does.
func TestPeerHAProxyInFront(t *testing.T) {
	haproxy := peer(t, "haproxy")
	a := startServer(t, "a")
	m := startMaster(t, fmt.Sprintf(`pools: {web: {servers: [{id: a, address: %q}]}}`, a.Addr("listen")))
	first, second := startEdge(t, m, "edge-1", "web"), startEdge(t, m, "edge-2", "web")
	awaitServers(t, m, "web", 1)
	address := freeport.Address(t)
	name := filepath.Join(t.TempDir(), "haproxy.cfg")
	conf := fmt.Sprintf(`defaults
  mode http
  timeout connect 60s
  timeout client 60s
  timeout server 60s
listen front
  bind %s
  option forwardfor
  server one %s check
  server two %s check
`, address, first.Addr("listen"), second.Addr("listen"))
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, address, haproxy, "-db", "-f", name)
	for range 10 {
		if resp := get(t, "http://"+address+"/through"); resp.StatusCode != http.StatusOK || resp.server() != "a" {
			t.Fatalf("through HAProxy: %s %s", resp.Status, resp.body)
		}
	}
	if n := served(t, a, "/through"); n != 10 {
		t.Errorf("the server's record shows %d requests, want 10", n)
	}
}
