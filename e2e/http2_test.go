package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// startFronts runs an edge whose clients speak TLS at one address and HTTP/2 without TLS at the other.
func startFronts(t *testing.T) (p *proc.Process, ca, secure, plain string) {
	t.Helper()
	return startFrontsOf(t, startServer(t, "a").Addr("listen"))
}

func startFrontsOf(t *testing.T, server string) (p *proc.Process, ca, secure, plain string) {
	t.Helper()
	ca, key, err := selfsigned.Files(t.TempDir(), "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	p = start(t, "run", "--admin", "127.0.0.1:0", "--config", file(t, fmt.Sprintf(`
pools: { web: { servers: [{ id: a, address: %q }] } }
edge:
  listeners:
    - { listen: 127.0.0.1:0, tls: { certificates: [{ cert: %s, key: %s }] }, routes: [{ pool: web }] }
    - { listen: localhost:0, h2c: true, routes: [{ pool: web }] }
`, server, ca, key)))
	secure, plain, _ = strings.Cut(p.Addr("listen"), ",")
	return p, ca, secure, plain
}

// curl speaks every version of HTTP that a listener offers.
func TestPeerCurlVersions(t *testing.T) {
	curl := peer(t, "curl")
	_, ca, secure, plain := startFronts(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--http2", "https://" + secure}, "2"},
		{[]string{"--http1.1", "https://" + secure}, "1.1"},
		{[]string{"--tlsv1.2", "--tls-max", "1.2", "https://" + secure}, "2"},
		{[]string{"--tlsv1.3", "https://" + secure}, "2"},
		{[]string{"--http2-prior-knowledge", "http://" + plain}, "2"},
		{[]string{"--http2", "http://" + plain}, "1.1"}, // which asks for an upgrade that is not granted
		{[]string{"--http1.1", "http://" + plain}, "1.1"},
	} {
		args := append([]string{"-sSf", "--max-time", "120", "--cacert", ca, "-o", filepath.Join(t.TempDir(), "body"), "-w", "%{http_version} %{http_code}"}, c.args...)
		if out, err := exec.Command(curl, args...).CombinedOutput(); err != nil || string(out) != c.want+" 200" {
			t.Errorf("curl %s: %v, %q, want %q", strings.Join(c.args, " "), err, out, c.want+" 200")
		}
	}
}

// curl reads an answer that comes while it uploads, whatever it speaks and however much is left.
func TestPeerCurlReadsEarlyAnswers(t *testing.T) {
	t.Parallel()
	curl := peer(t, "curl")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
				_, _ = io.Copy(io.Discard, conn) // until the edge has had enough
			}()
		}
	}()
	_, ca, secure, plain := startFrontsOf(t, l.Addr().String())
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range [][]string{{"--http2", "https://" + secure}, {"--http1.1", "https://" + secure}, {"--http2-prior-knowledge", "http://" + plain}, {"--http1.1", "http://" + plain}} {
		for range whenLong(5, 40) {
			args := append([]string{"-sS", "--max-time", "120", "--cacert", ca, "-T", upload, "-w", " %{http_code}"}, way...)
			if out, err := exec.Command(curl, args...).CombinedOutput(); err != nil || string(out) != "no 403" {
				t.Fatalf("curl %s: %v, %q, want \"no 403\"", strings.Join(way, " "), err, out)
			}
		}
	}
}

// h2load has many streams open in each connection.
func TestPeerH2load(t *testing.T) {
	h2load := peer(t, "h2load")
	_, _, secure, plain := startFronts(t)
	for _, url := range []string{"https://" + secure + "/", "http://" + plain + "/"} {
		out, err := exec.Command(h2load, "-n", "2000", "-c", "4", "-m", "20", url).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "2000 succeeded, 0 failed, 0 errored") {
			t.Errorf("h2load %s: %v\n%s", url, err, out)
		}
	}
}
