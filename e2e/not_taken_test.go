package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// nginx ends a connection of HTTP/2 after so many requests, and leaves out those that are on their way
// beyond them. They are sent again, bodies included: no client sees any of it, and no server is the
// worse for it. The answers come from servers behind nginx, so that each can be told from all others.
func TestPeerNginxTakesNotAll(t *testing.T) {
	nginx, h2load := peer(t, "nginx"), peer(t, "h2load")
	for n := 1; n <= 2; n++ {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) {
			certs := t.TempDir()
			run(t, "certs", "init", "--dir", certs)
			var entries []string
			for i := range n {
				id := fmt.Sprintf("s%d", i+1)
				address := startNginxHTTP2(t, nginx, startServer(t, id, "--slots", "1000").Addr("listen"))
				entries = append(entries, fmt.Sprintf("{id: %s, address: %q, slots: 1000}", id, address))
			}
			tls, _ := issue(t, certs, "master", "m1")
			m := master{Process: start(t, "master", "--config", file(t, fmt.Sprintf("master: {id: m1%s}\npools: {web: {servers: [%s], health: {http: /, server_protocol: h2}}}", tls, strings.Join(entries, ", "))),
				"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")}
			tls, _ = issue(t, certs, "edge", "e1")
			edge := start(t, "edge", "--admin", "127.0.0.1:0", "--access-log", "off", "--config", file(t, fmt.Sprintf(
				"edge: {id: e1, masters: [%q]%s, listeners: [{listen: 127.0.0.1:0, h2c: true, routes: [{pool: web, server_protocol: h2}]}]}", m.Addr("listen"), tls)))
			url := "http://" + edge.Addr("listen") + "/"

			trace := make([]load.Arrival, whenLong(1500, 20_000))
			for i := range trace {
				a := &trace[i]
				a.At, a.Kind, a.Work = time.Duration(i/100)*100*time.Millisecond, load.HTTP2, .01 // a hundred at once
				if i%4 > 0 {
					a.Method, a.Body = http.MethodPost, []int64{3, 2_000, 60_000}[i%4-1]
				}
			}
			r := startTrace(t, []string{url}, trace)
			eventually(t, func() (bool, string) {
				answered := len(r.everything())
				return answered == len(trace), fmt.Sprintf("%d of %d requests answered", answered, len(trace))
			})
			noFailures(t, r.everything())
			r.stop()

			body := filepath.Join(t.TempDir(), "body")
			if err := os.WriteFile(body, []byte(strings.Repeat("x", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			requests := whenLong(5_000, 100_000)
			out, err := exec.Command(h2load, "-n", fmt.Sprint(requests), "-c", "4", "-m", "25", "-d", body, url).CombinedOutput()
			if want := fmt.Sprintf("status codes: %d 2xx, 0 3xx, 0 4xx, 0 5xx", requests); err != nil || !strings.Contains(string(out), want) {
				t.Errorf("h2load: %v, want %s\n%s", err, want, out)
			}
			told, _ := metric(t, edge.Addr("admin"), `evenkeel_edge_resends_total{pool="web"}`)
			t.Logf("%d requests, %s sent again", len(trace)+requests, told)
			if told == "" || told == "0" {
				t.Errorf("no request was sent again, so this test shows nothing")
			}
			for i := range n {
				id := fmt.Sprintf("s%d", i+1)
				if told, _ := metric(t, m.Addr("admin"), fmt.Sprintf("evenkeel_server_success_ratio{pool=\"web\",server=%q}", id)); told != "1" {
					t.Errorf("server %s has success ratio %s, want 1: it is not at fault", id, told)
				}
				if told, _ := metric(t, m.Addr("admin"), fmt.Sprintf("evenkeel_server_up{pool=\"web\",server=%q}", id)); told != "1" {
					t.Errorf("server %s is not up", id)
				}
			}
		})
	}
}

// startNginxHTTP2 runs an nginx that speaks HTTP/2, ends connections after 50 requests, and passes
// requests on to a server.
func startNginxHTTP2(t testing.TB, nginx, server string) (address string) {
	t.Helper()
	address = freeport.Address(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, fmt.Appendf(nil, `daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_max_body_size 0; keepalive_requests 50;
  upstream server { server %[3]s; keepalive 200; }
  server { listen %[2]s http2; location / { proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}`, dir, address, server), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, address, nginx, "-c", name, "-p", dir)
	return address
}
