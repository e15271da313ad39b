package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// nginx passes requests on by HTTP/1.0, and closes its connection when its own client leaves. A request that is abandoned so
// leaves the queue, and its server.
func TestPeerNginxsAbandonedRequestsFreeTheirPlaces(t *testing.T) {
	t.Parallel()
	nginx := peer(t, "nginx")
	began, ended := make(chan string, 4), make(chan string, 4)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began <- r.URL.Path
		<-r.Context().Done()
		ended <- r.URL.Path
	}))
	defer server.Close()
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {queue: {wait: 1m}, servers: [{id: s1, address: %q, slots: 1}]}}", server.Listener.Addr()))
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 127.0.0.1:0, listeners: [{listen: 127.0.0.1:0, routes: [{pool: web, timeout: 1m}]}]}\n", m.wire))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)
	front, dir := freeport.Address(t), t.TempDir()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; location / { proxy_http_version 1.0; proxy_pass http://%[3]s; } }
}`, dir, front, e.Addr("listen"))
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, front, nginx, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir)

	ask := func(path string) net.Conn {
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		return conn
	}
	waiting := func(n int) {
		t.Helper()
		eventually(t, func() (bool, string) {
			var told struct {
				Waiting int `json:"queue_length"`
			}
			get(t, "http://"+m.admin+"/v1/pools/web").into(t, &told)
			return told.Waiting == n, fmt.Sprintf("%d requests wait, want %d", told.Waiting, n)
		})
	}
	first := ask("/first")
	if path := <-began; path != "/first" {
		t.Fatalf("the server got %s first", path)
	}
	second := ask("/second")
	waiting(1)
	third := ask("/third")
	waiting(2)
	_ = second.Close()
	waiting(1)
	_ = first.Close()
	if path := <-ended; path != "/first" {
		t.Errorf("%s ended, want /first", path)
	}
	if path := <-began; path != "/third" {
		t.Errorf("the server got %s, want /third: who has gone needs no answer", path)
	}
	_ = third.Close()
	if path := <-ended; path != "/third" {
		t.Errorf("%s ended, want /third", path)
	}
	waiting(0)
}
