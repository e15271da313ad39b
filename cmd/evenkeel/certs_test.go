package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// certificates makes an authority and a certificate of each role, and returns the flags
// by which a component shows one.
func certificates(t *testing.T) (dir string, flags func(role, name string) []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "certs")
	if code, _, stderr := say(t, "certs", "init", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, who := range [][]string{{"master", "m1"}, {"edge", "e1"}, {"agent", "r1"}} {
		if code, _, stderr := say(t, "certs", "issue", who[0], who[1], "--dir", dir); code != 0 {
			t.Fatal(stderr)
		}
	}
	return dir, func(role, name string) []string {
		stem := filepath.Join(dir, role+"-"+name)
		return []string{"--tls-cert", stem + ".crt", "--tls-key", stem + ".key", "--tls-ca", filepath.Join(dir, "ca.crt")}
	}
}

func TestCertsAreNotOverwritten(t *testing.T) {
	dir, _ := certificates(t)
	for _, args := range [][]string{{"certs", "init", "--dir", dir}, {"certs", "issue", "edge", "e1", "--dir", dir}} {
		if code, _, stderr := say(t, args...); code != 1 || !strings.Contains(stderr, "exists: move it away first") {
			t.Errorf("%v: got exit code %d:\n%s", args, code, stderr)
		}
	}
}

func TestCertificatesThatDoNotFit(t *testing.T) {
	_, flags := certificates(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{append([]string{"edge", "--pool", "web", "--listen", "127.0.0.1:0"}, flags("agent", "r1")...), "is for agent r1, and this is the edge role"},
		{append([]string{"edge", "--pool", "web", "--id", "e2", "--listen", "127.0.0.1:0"}, flags("edge", "e1")...), `is for edge e1, but edge.id is "e2"`},
		{append([]string{"agent", "--pool", "web", "--id", "r2", "--address", "127.0.0.1:9"}, flags("agent", "r1")...), `is for agent r1, but agent.id is "r2"`},
	} {
		if code, _, stderr := say(t, c.args...); code != 1 || !strings.Contains(stderr, c.says) || !strings.Contains(stderr, "evenkeel certs issue") {
			t.Errorf("%v: got exit code %d:\n%s\nwant it to say %q", c.args, code, stderr, c.says)
		}
	}
}

// The roles as processes, with certificates: they work, an edge without one is told why
// it is refused, and a bad file changes nothing.
func TestSeparateProcessesWithCertificates(t *testing.T) {
	dir, flags := certificates(t)
	m := start(t, append([]string{"master", "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags("master", "m1")...)...)
	wire, admin := m.serving()
	e := start(t, append([]string{"edge", "--pool", "web", "--master", wire, "--listen", "127.0.0.1:0", "--admin", "off"}, flags("edge", "e1")...)...)
	listen, _ := e.serving()
	a := start(t, append([]string{"agent", "--pool", "web", "--master", wire, "--address", strings.TrimPrefix(server(t, "a"), "http://"), "--admin", "off"}, flags("agent", "r1")...)...)
	a.serving()
	eventually(t, "a request", func() (string, bool) {
		status, body := get(t, "http://"+listen)
		return body, status == http.StatusOK && body == "a"
	})

	bare := start(t, "edge", "--pool", "web", "--master", wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	_, bareAdmin := bare.serving()
	if err := bare.record("no connection to the master, trying again")["err"]; !strings.Contains(err.(string), "forbidden: it speaks no TLS") {
		t.Errorf("the edge without a certificate logs %v", err)
	}
	for _, c := range [][2]string{{admin, `evenkeel_peers_refused_total{reason="plaintext"} 1`}, {bareAdmin, `evenkeel_edge_masters_refused_total{reason="by-peer"} 1`}} {
		eventually(t, c[1], func() (string, bool) {
			_, body := get(t, "http://"+c[0]+"/metrics")
			return "not counted", strings.Contains(body, strings.TrimSuffix(c[1], "1"))
		})
	}

	if err := os.WriteFile(filepath.Join(dir, "master-m1.crt"), []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.signal(syscall.SIGHUP)
	m.record("new certificate files are bad; the former certificate stays")
	if status, body := get(t, "http://"+listen); status != http.StatusOK {
		t.Errorf("got %d %s, want 200", status, body)
	}
}
