package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestPeerCurlUploadsBesideSilentOnes: while one client has 99 requests of HTTP/2 open whose bodies do not
// come, and 24 of HTTP/1.1 that are as slow, curl's uploads find servers in a pool of 8 slots, and each
// has the answer to its own.
func TestPeerCurlUploadsBesideSilentOnes(t *testing.T) {
	curl := peer(t, "curl")
	digest := func(path string, body []byte) string { return fmt.Sprintf("%s %x", path, sha256.Sum256(body)) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, _ = io.WriteString(w, digest(r.URL.Path, body))
		}
	}))
	defer server.Close()
	certs := t.TempDir()
	run(t, "certs", "init", "--dir", certs)
	tls, _ := issue(t, certs, "master", "m1")
	m := startMaster(t, fmt.Sprintf("master: {id: m1%s}\npools: {web: {servers: [{id: s, address: %q, slots: 8}]}}", tls, server.Listener.Addr()))
	tls, _ = issue(t, certs, "edge", "e1")
	edge := start(t, "edge", "--admin", "127.0.0.1:0", "--access-log", "off", "--config", file(t, fmt.Sprintf(
		"edge: {id: e1, masters: [%q]%s, listeners: [{listen: 127.0.0.1:0, h2c: true, routes: [{pool: web}]}]}", m.Addr("listen"), tls)))
	address := edge.Addr("listen")

	dial := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	conn := dial()
	var text bytes.Buffer
	framer, pack := http2.NewFramer(conn, conn), hpack.NewEncoder(&text)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = framer.WriteSettings()
	for i := range 99 {
		text.Reset()
		for _, f := range []string{":method POST", ":scheme http", ":authority a", ":path /silent"} {
			name, value, _ := strings.Cut(f, " ")
			_ = pack.WriteField(hpack.HeaderField{Name: name, Value: value}) // into memory
		}
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: text.Bytes(), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	for range 24 {
		_, _ = io.WriteString(dial(), "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
	}
	eventually(t, func() (bool, string) {
		told, _ := metric(t, edge.Addr("admin"), `evenkeel_edge_in_flight{pool="web"}`)
		n, _ := strconv.Atoi(told)
		return n >= 99+24, told + " requests are open"
	})

	dir := t.TempDir()
	var uploads sync.WaitGroup
	for i := range 16 {
		body := bytes.Repeat(fmt.Appendf(nil, "upload %d,", i), []int{10, 2_000, 30_000, 150_000}[i%4])
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-sS", "--max-time", "60", "-H", "Expect: 100-continue", []string{"--http1.1", "--http2-prior-knowledge"}[i/4%2]}
		if i < 8 {
			args = append(args, "--data-binary", "@"+name)
		} else {
			args = append(args, "-T", name)
			if i >= 12 {
				args = append(args, "-H", "Transfer-Encoding: chunked")
			}
		}
		path := fmt.Sprintf("/upload/%d", i)
		uploads.Go(func() {
			out, err := exec.Command(curl, append(args, "http://"+address+path)...).CombinedOutput()
			if want := digest(path, body); err != nil || string(out) != want {
				t.Errorf("curl %s: %v, %q, want %q", strings.Join(args, " "), err, out, want)
			}
		})
	}
	uploads.Wait()
	eventually(t, func() (bool, string) { // what is too slow is ended, and no memory is held for what has gone
		told, _ := metric(t, edge.Addr("admin"), "evenkeel_edge_body_memory_bytes")
		return told == "0", told + " bytes are held"
	})
}
