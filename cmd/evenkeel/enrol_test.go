package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No flag takes a token itself, and what is said of one that was given so does not have it.
func TestTokensStandInNoCommandLine(t *testing.T) {
	token := "evenkeel-enrol-" + base64.RawURLEncoding.EncodeToString([]byte(`{"a":"ab","s":"very secret","p":"web","e":"2036-01-01T00:00:00Z","u":1}`))
	base := []string{"agent", "--pool", "web", "--address", "127.0.0.1:9", "--admin", "off"}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--token", token}, exitUsage, "--token takes no token itself"},
		{[]string{"--token", "-", "--token-file", "x"}, exitUsage, "cannot go together"},
		{[]string{"--token-file", "x", "--tls-cert", "x", "--tls-key", "y", "--tls-ca", "z"}, exitUsage, "a token and tls cannot go together"},
		{[]string{"--token-file", filepath.Join(t.TempDir(), "none")}, 1, "evenkeel certs token POOL"},
		{[]string{"--certs", t.TempDir()}, 1, "evenkeel certs token web"},
	} {
		code, stdout, stderr := say(t, append(base, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) || strings.Contains(stdout+stderr, token) || strings.Contains(stderr, "secret\"") {
			t.Errorf("%v: got exit code %d, want %d that says %q:\n%s", c.args[:1], code, c.code, c.says, stderr)
		}
	}
}

// What a token says of itself is held against the agent before it is sent.
func TestATokenThatCannotBeGoodIsNotSent(t *testing.T) {
	for what, c := range map[string][2]string{
		"another pool": {`{"a":"ab","s":"very secret","p":"pay","e":"2036-01-01T00:00:00Z","u":1}`, "is for pool pay, and this agent joins web"},
		"ended":        {`{"a":"ab","s":"very secret","p":"web","e":"2016-01-01T00:00:00Z","u":1}`, "ended at 2016"},
		"no token":     {`x`, "the token is not whole"},
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte("evenkeel-enrol-"+base64.RawURLEncoding.EncodeToString([]byte(c[0]))), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := say(t, "agent", "--pool", "web", "--address", "127.0.0.1:9", "--admin", "off", "--token-file", file, "--certs", t.TempDir())
		if code != 1 || !strings.Contains(stderr, c[1]) || strings.Contains(stderr, "very secret") {
			t.Errorf("%s: got exit code %d:\n%s", what, code, stderr)
		}
	}
}

func TestAMastersFileWithAnIssuer(t *testing.T) {
	dir, _ := certificates(t)
	if code, _, stderr := say(t, "certs", "issuer", "m1", "--pool", "web", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	tls := "  tls: { cert: " + dir + "/master-m1.crt, key: " + dir + "/master-m1.key, ca: " + dir + "/ca.crt }\n"
	for _, c := range []struct{ master, says string }{
		{tls + "  enrol: { cert: a.crt, key: a.key }\n", ""},
		{"  enrol: { cert: a.crt, key: a.key }\n", "enrol: it needs tls too"},
		{tls + "  enrol: { cert: a.crt }\n", "key: empty, want a file of evenkeel certs issuer"},
		{tls + "  enrol: { cert: a.crt, key: a.key, ttl: 1s }\n", "ttl: 1s, want 4s"},
		{tls + "  enroll: { cert: a.crt, key: a.key }\n", "enrol"},
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte("master:\n"+c.master+"pools: { web: {} }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := say(t, "check", file); (code == 0) != (c.says == "") || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s: got exit code %d, want it to say %q:\n%s%s", c.master, code, c.says, stdout, stderr)
		}
	}
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("master:\n"+tls+"  listen: 127.0.0.1:0\n  admin: off\n  enrol: { cert: "+dir+"/agent-r1.crt, key: "+dir+"/agent-r1.key }\npools: { web: {} }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := say(t, "master", "--config", file); code != 1 || !strings.Contains(stderr, "is no issuer's certificate") {
		t.Errorf("an agent's certificate: got %d\n%s", code, stderr)
	}
}
