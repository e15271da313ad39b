package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// digest answers with the hash of a request's body, or changes to a protocol that sends back what it is sent.
func digest(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		hash := sha256.New()
		_, _ = io.Copy(hash, r.Body) // the hash tells
		_, _ = fmt.Fprintf(w, "%s %x", r.URL.Path, hash.Sum(nil))
		return
	}
	conn, in, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(conn, in)
}

// startTLSNginx runs an nginx that speaks this version of TLS, keeps idle connections for a second and connections for ten requests, has a
// file at /file, and a server behind it at /app.
func startTLSNginx(t *testing.T, version, cert, key string, file []byte, app string) (address string) {
	t.Helper()
	nginx := peer(t, "nginx")
	address = freeport.Address(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_max_body_size 0;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen %[2]s ssl; ssl_protocols %[6]s; ssl_certificate %[3]s; ssl_certificate_key %[4]s; keepalive_timeout 1s; keepalive_requests 10;
    location / { return 200 "$request_uri by $ssl_protocol\n"; }
    location = /file { root %[1]s; }
    location /app { proxy_pass http://%[5]s; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; }
  }
}`, dir, address, cert, key, app, version)
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, address, nginx, "-c", name, "-p", dir)
	return address
}

// Requests of all kinds go to an nginx that speaks TLS, and each answer belongs to its request.
func TestNginxThatSpeaksTLS(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testNginxThatSpeaksTLS(t, version)
		})
	}
}

func testNginxThatSpeaksTLS(t *testing.T, version string) {
	app := httptest.NewServer(http.HandlerFunc(digest))
	t.Cleanup(app.Close)
	cert, key, err := selfsigned.Files(t.TempDir(), "nginx.example")
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 16<<20)
	_, _ = rand.Read(large) // never fails
	address := startTLSNginx(t, version, cert, key, large, app.Listener.Addr().String())
	edge := start(t, "run", "--admin", "127.0.0.1:0", "--access-log", "off", "--config", file(t, fmt.Sprintf(`
pools: { web: { servers: [{ address: %q }] } }
edge: { listeners: [{ listen: "127.0.0.1:0", routes: [{ pool: web, server_tls: { ca: %q, server_name: nginx.example } }] }] }
`, "https://"+address, cert)))
	listen := edge.Addr("listen")

	// Small ones at once, by connections that nginx closes behind the tenth, or when they are idle.
	for round := range 2 {
		var clients sync.WaitGroup
		for c := range 8 {
			clients.Go(func() {
				for i := range 40 {
					path := fmt.Sprintf("/%d/%d/%d", round, c, i)
					resp, err := client.Get("http://" + listen + path)
					if err != nil {
						t.Error(err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if want := path + " by " + version + "\n"; err != nil || resp.StatusCode != 200 || string(body) != want {
						t.Errorf("got %s %q, %v; want %q", resp.Status, body, err, want)
					}
				}
			})
		}
		clients.Wait()
		if round == 0 {
			<-time.After(1200 * time.Millisecond) // nginx gives idle connections up
		}
	}

	if got := get(t, "http://"+listen+"/file"); got.StatusCode != 200 || !bytes.Equal(got.body, large) {
		t.Errorf("download: got %s and %d bytes, or others", got.Status, len(got.body))
	}
	for _, length := range []int64{int64(len(large)), -1} {
		req, err := http.NewRequest("POST", "http://"+listen+"/app/upload", bytes.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("/app/upload %x", sha256.Sum256(large)); err != nil || string(body) != want {
			t.Errorf("upload, length %d: got %s %q, %v; want %q", length, resp.Status, body, err, want)
		}
	}

	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(conn, "GET /app/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") // the answer tells
	in := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: got %v, %v", resp, err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = conn.Write(large) // what comes back tells
	})
	back := make([]byte, len(large))
	if n, err := io.ReadFull(in, back); err != nil || !bytes.Equal(back, large) {
		t.Errorf("through the upgraded connection: %d bytes came back, or others: %v", n, err)
	}
	sending.Wait()
}

// A server that cannot prove who it is, is not sent a request. A reload with the right authority makes it good.
func TestNginxThatProvesNothing(t *testing.T) {
	t.Parallel()
	cert, key, err := selfsigned.Files(t.TempDir(), "nginx.example")
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := selfsigned.Files(t.TempDir(), "nginx.example")
	if err != nil {
		t.Fatal(err)
	}
	address := startTLSNginx(t, "TLSv1.3", cert, key, nil, "127.0.0.1:1")
	for what, trust := range map[string]string{
		"another authority": fmt.Sprintf("{ ca: %q, server_name: nginx.example }", other),
		"another name":      fmt.Sprintf("{ ca: %q, server_name: other.example }", cert),
		"no name":           fmt.Sprintf("{ ca: %q }", cert),
	} {
		config := func(trust string) string {
			return fmt.Sprintf(`
pools: { web: { servers: [{ address: %q }] } }
edge: { listeners: [{ listen: "127.0.0.1:0", routes: [{ pool: web, server_tls: %s }] }] }
`, "https://"+address, trust)
		}
		name := file(t, config(trust))
		edge := start(t, "run", "--admin", "127.0.0.1:0", "--config", name)
		got := get(t, "http://"+edge.Addr("listen")+"/")
		if got.StatusCode != 502 || !strings.Contains(string(got.body), "unreachable") {
			t.Errorf("%s: got %s %s, want 502 and that the server is unreachable", what, got.Status, got.body)
		}
		eventually(t, func() (bool, string) {
			return strings.Contains(edge.Log(), "x509"), what + ": the log does not say what is wrong with the certificate"
		})
		if err := os.WriteFile(name, []byte(config(fmt.Sprintf("{ ca: %q, server_name: nginx.example }", cert))), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := edge.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			got := get(t, "http://"+edge.Addr("listen")+"/")
			return got.StatusCode == 200, fmt.Sprintf("%s, after a reload: %s %s", what, got.Status, got.body)
		})
	}
}
