package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// files writes a certificate and its key for the names.
func files(t *testing.T, dir string, names ...string) (cert, key string) {
	t.Helper()
	cert, key, err := selfsigned.Files(dir, names...)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// shown returns the certificate that a client is shown who asks for the name.
func shown(t *testing.T, address, name string) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	a, aKey := files(t, dir, "a.example")
	b, bKey := files(t, dir, "b.example", "*.b.example")
	path := filepath.Join(dir, "evenkeel.yaml")
	yaml := fmt.Sprintf(`
pools: { web: { servers: [{ address: %q }] } }
edge:
  listeners:
    - listen: 127.0.0.1:0
      tls: { certificates: [{ cert: %s, key: %s }, { cert: %s, key: %s }] }
      routes: [{ pool: web }]
`, strings.TrimPrefix(server(t, "a"), "http://"), a, aKey, b, bKey)
	write(t, path, yaml)
	if err := os.Chmod(bKey, 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, "run", "--config", path, "--admin", "127.0.0.1:0")
	listen, _ := s.serving()
	s.record(fmt.Sprintf("every user of this machine may read the key %s (mode 0644): chmod o= %s", bKey, bKey))
	if strings.Contains(s.log(), "may read the key "+aKey) {
		t.Errorf("the log complains of a key that only its owner may read:\n%s", s.log())
	}
	for name, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "www.b.example": "b.example", "other.example": "a.example", "": "a.example"} {
		if got := shown(t, listen, name).Subject.CommonName; got != want {
			t.Errorf("who asks for %q is shown %s, want %s", name, got, want)
		}
	}

	// A bad file leaves the old one serving.
	before := shown(t, listen, "a.example").SerialNumber
	write(t, a, "no certificate at all\n")
	s.record("certificate failed to load; the old one stays")
	if got := shown(t, listen, "a.example").SerialNumber; got.Cmp(before) != 0 {
		t.Errorf("after a bad file: serial %v, want the old one, %v", got, before)
	}
	s.signal(syscall.SIGHUP)
	s.record("reload failed; the old settings stay")
	if got := shown(t, listen, "a.example").SerialNumber; got.Cmp(before) != 0 {
		t.Errorf("after SIGHUP with a bad file: serial %v, want the old one, %v", got, before)
	}

	// A good one is taken up by itself.
	files(t, dir, "a.example")
	s.record("certificate loaded")
	if got := shown(t, listen, "a.example").SerialNumber; got.Cmp(before) == 0 {
		t.Error("after a new file: the old certificate is shown")
	}
	s.signal(syscall.SIGHUP)
	s.record("reloaded")
	shown(t, listen, "b.example")
}

func TestCheckCertificates(t *testing.T) {
	dir := t.TempDir()
	a, aKey := files(t, dir, "a.example")
	_, bKey := files(t, dir, "b.example")
	path := filepath.Join(dir, "evenkeel.yaml")
	for _, c := range []struct{ tls, serverTLS, want string }{
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a, aKey), "{}", ""},
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a, aKey), fmt.Sprintf("{ ca: %s, cert: %s, key: %s }", a, a, aKey), ""},
		{"{ certificates: [] }", "{}", "want at least one"},
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a, bKey), "{}", "private key does not match public key"},
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a+"x", aKey), "{}", "there is no file " + a + "x"},
		{fmt.Sprintf("{ certificates: [{ cert: %s }] }", a), "{}", "key: empty, want the path of a PEM file"},
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a, aKey), fmt.Sprintf("{ ca: %s }", aKey), "has no certificate in PEM"},
		{fmt.Sprintf("{ certificates: [{ cert: %s, key: %s }] }", a, aKey), fmt.Sprintf("{ cert: %s }", a), "server_tls: key: empty"},
	} {
		write(t, path, fmt.Sprintf(`edge:
  listeners:
    - listen: 127.0.0.1:0
      tls: %s
      routes: [{ pool: web, server_tls: %s }]
`, c.tls, c.serverTLS))
		code, stdout, stderr := say(t, "check", path)
		if said := stdout + stderr; (code == 0) != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s, %s: got exit code %d and\n%s\nwant %q", c.tls, c.serverTLS, code, said, c.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
