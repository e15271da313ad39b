package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
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
		args := []string{"certs", "issue", who[0], who[1], "--dir", dir}
		if who[0] == "agent" {
			args = append(args, "--pool", "web")
		}
		if code, _, stderr := say(t, args...); code != 0 {
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
	m.record("the new certificate files are invalid; the old certificate stays in use")
	if status, body := get(t, "http://"+listen); status != http.StatusOK {
		t.Errorf("got %d %s, want 200", status, body)
	}
}

// Names that no component could go by, and pools that there cannot be, get no certificate.
func TestCertsForNobodyAreNotMade(t *testing.T) {
	dir, _ := certificates(t)
	for _, args := range [][]string{{"edge", "a b"}, {"edge", "e1~2"}, {"edge", ""}, {"master", strings.Repeat("m", 300)}, {"agent", strings.Repeat("r", 300)},
		{"agent", "r9", "--pool", "a/b"}, {"master", "m9", "--pool", "web"}, {"edge", "e9", "--address", "10.0.0.1"}, {"agent", "r9", "--ttl", "3"}, {"agent", "r9", "--ttl", "0d"}} {
		if code, _, stderr := say(t, append([]string{"certs", "issue", "--dir", dir}, args...)...); code != 2 {
			t.Errorf("%q: got exit code %d:\n%s", args, code, stderr)
		}
	}
}

func TestCertsAreRenewedInPlaceAndShown(t *testing.T) {
	dir, _ := certificates(t)
	out := filepath.Join(dir, "new", "folder")
	file := filepath.Join(out, "agent-r2.crt")
	if code, _, stderr := say(t, "certs", "issue", "agent", "r2", "--dir", dir, "--out", out, "--pool", "web", "--pool", "jobs", "--address", "10.0.0.0/8", "--from", "10.0.7.1", "--ttl", "90d"); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := say(t, "certs", "issue", "agent", "r2", "--dir", dir, "--out", out, "--pool", "web"); code != 1 || !strings.Contains(stderr, "evenkeel certs renew "+file) {
		t.Errorf("issued twice: got %d\n%s", code, stderr)
	}
	code, before, stderr := say(t, "certs", "show", file)
	for _, want := range []string{"agent r2", "web, jobs", "10.0.0.0/8", "10.0.7.1/32", "Evenkeel authority ", "89 days"} {
		if !strings.Contains(before, want) {
			t.Errorf("show lacks %q (exit code %d):\n%s%s", want, code, before, stderr)
		}
	}
	if code, stdout, stderr := say(t, "certs", "renew", file, "--dir", dir, "--ttl", "1h"); code != 0 || !strings.Contains(stdout, "agent r2, for 1h0m0s from now") {
		t.Fatalf("got %d\n%s%s", code, stdout, stderr)
	}
	_, after, _ := say(t, "certs", "show", file)
	if !strings.Contains(after, "web, jobs") || !strings.Contains(after, "10.0.0.0/8") || !strings.Contains(after, "10.0.7.1/32") || before == after {
		t.Errorf("renewed:\n%s\nbefore:\n%s", after, before)
	}
	if err := os.Chmod(filepath.Join(out, "agent-r2.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := say(t, "certs", "show", file); code != exitTrouble || !strings.Contains(stdout, "every user of this machine may read the key") {
		t.Errorf("got exit code %d:\n%s", code, stdout)
	}
	if code, stdout, stderr := say(t, "certs", "renew", "--dir", dir); code != 0 || strings.Count(stdout, " from now") != 3 {
		t.Errorf("all: got %d\n%s%s", code, stdout, stderr)
	}
	if _, err := trust.Open(trust.Files{Cert: filepath.Join(dir, "edge-e1.crt"), Key: filepath.Join(dir, "edge-e1.key"), CA: filepath.Join(dir, "ca.crt")}, nil); err != nil {
		t.Error(err)
	}
}

func TestAnIssuersCertificates(t *testing.T) {
	dir, _ := certificates(t)
	if code, _, stderr := say(t, "certs", "issuer", "team", "--pool", "web", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	by := filepath.Join(dir, "issuer-team.crt")
	if code, _, stderr := say(t, "certs", "issue", "agent", "r2", "--pool", "web", "--dir", dir, "--issuer", by, "--ttl", "1d"); code != 0 {
		t.Error(stderr)
	}
	for _, args := range [][]string{{"agent", "r3", "--pool", "pay"}, {"agent", "r3", "--pool", "*"}, {"agent", "r3"}, {"edge", "e3", "--pool", "web"}, {"master", "m3"}} {
		if code, _, stderr := say(t, append([]string{"certs", "issue", "--dir", dir, "--issuer", by, "--ttl", "1d"}, args...)...); code != 1 || !strings.Contains(stderr, "issuer team signs for") {
			t.Errorf("%q: got exit code %d\n%s", args, code, stderr)
		}
	}
	if _, err := trust.Open(trust.Files{Cert: filepath.Join(dir, "agent-r2.crt"), Key: filepath.Join(dir, "agent-r2.key"), CA: filepath.Join(dir, "ca.crt")}, nil); err != nil {
		t.Error(err)
	}
}
