package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// TestPeersProxyProtocol: HAProxy tells the edge by either version whom it speaks for, and the edge tells
// nginx by either. The edge carries TCP, so HTTP cannot show the difference.
func TestPeersProxyProtocol(t *testing.T) {
	nginx, haproxy := peer(t, "nginx"), peer(t, "haproxy")
	dir, server := t.TempDir(), freeport.Address(t)
	conf := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	background(t, server, nginx, "-p", dir, "-c", conf("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr crit;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s proxy_protocol; location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port\n"; } }
}`, dir, server)))
	edges := []string{freeport.Address(t), freeport.Address(t)}
	start(t, "run", "--admin", "off", "--config", file(t, fmt.Sprintf(`
pools:
  web: { servers: [{ address: "%s" }] }
edge:
  listeners:
    - { listen: "%s", mode: tcp, proxy_protocol: { trusted: [127.0.0.0/8] }, routes: [{ pool: web, send_proxy: v1 }] }
    - { listen: "%s", mode: tcp, proxy_protocol: { trusted: [127.0.0.1] }, routes: [{ pool: web, send_proxy: v2 }] }
`, server, edges[0], edges[1])))
	var fronts []string
	text := "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n"
	for i, edge := range edges {
		for _, version := range []string{"send-proxy", "send-proxy-v2"} {
			front := freeport.Address(t)
			fronts = append(fronts, front)
			text += fmt.Sprintf("listen l%d%s\n  bind %s\n  server s %s %s\n", i, version, front, edge, version)
		}
	}
	background(t, fronts[0], haproxy, "-db", "-f", conf("haproxy.cfg", text))
	for _, front := range fronts {
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(2 * time.Minute))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if want := conn.LocalAddr().String() + "\n"; err != nil || !strings.HasSuffix(string(answer), want) {
			t.Errorf("nginx was told %q (%v), want %s", answer, err, want)
		}
		conn.Close()
	}
}
