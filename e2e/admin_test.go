package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A master's admin address beyond loopback: it is not opened without proof, and with it the
// commands work by token and by certificate, each with its roles, and the audit log says who.
func TestAnAdminAddressBeyondLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs, tokens, record := filepath.Join(dir, "certs"), filepath.Join(dir, "tokens"), filepath.Join(dir, "audit")
	run(t, "certs", "init", "--dir", certs)
	for _, who := range [][2]string{{"master", "m1"}, {"operator", "alice"}, {"edge", "e1"}} {
		run(t, "certs", "issue", who[0], who[1], "--dir", certs)
	}
	tokenFile := filepath.Join(dir, "prometheus.token")
	token, err := exec.Command(binary, "tokens", "add", tokens, "prometheus", "read").Output()
	if err == nil {
		err = os.WriteFile(tokenFile, token, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ca, of := filepath.Join(certs, "ca.crt"), func(name string) (cert, key string) {
		return filepath.Join(certs, name+".crt"), filepath.Join(certs, name+".key")
	}
	cert, key := of("master-m1")
	base := []string{"master", "--listen", "127.0.0.1:0", "--pool", "web", "--server", "http://127.0.0.1:9,pool=web,id=s1", "--admin", "0.0.0.0:0"}
	for _, short := range [][]string{nil, {"--admin-cert", cert, "--admin-key", key}, {"--admin-tokens", tokens}} {
		if out, err := exec.Command(binary, append(base, short...)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "beyond loopback") {
			t.Errorf("with %q it ended with %v, want that it is refused:\n%s", short, err, out)
		}
	}
	m := start(t, append(base, "--admin-cert", cert, "--admin-key", key, "--admin-ca", ca, "--admin-tokens", tokens, "--audit-log", record)...)
	url := "https://127.0.0.1:" + port(m.Addr("admin"))
	ask := func(words string, proof ...string) (string, error) {
		cmd := exec.Command(binary, append(append(strings.Fields(words), "--admin", url, "--tls-ca", ca), proof...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	aliceCert, aliceKey := of("operator-alice")
	edgeCert, edgeKey := of("edge-e1")
	for _, c := range []struct {
		words string
		proof []string
		says  string // of an error; empty: it is done
	}{
		{"explain --pool web", []string{"--token-file", tokenFile}, ""},
		{"drain s1 --pool web", []string{"--token-file", tokenFile}, "needs the role operate"},
		{"drain s1 --pool web", nil, "want a bearer token"},
		{"drain s1 --pool web", []string{"--tls-cert", edgeCert, "--tls-key", edgeKey}, "needs the role operate"},
		{"drain s1 --pool web", []string{"--tls-cert", aliceCert, "--tls-key", aliceKey}, ""},
	} {
		out, err := ask(c.words, c.proof...)
		if (err == nil) != (c.says == "") || !strings.Contains(out, c.says) {
			t.Errorf("%s with %q: got %v, want %q:\n%s", c.words, c.proof, err, c.says, out)
		}
	}
	if a := get(t, "http://127.0.0.1:"+port(m.Addr("admin"))+"/v1/status"); a.StatusCode != http.StatusBadRequest || strings.Contains(string(a.body), "web") {
		t.Errorf("plain HTTP: got %d %s, want what Go's server says of it", a.StatusCode, a.body)
	}
	out, err := exec.Command(binary, "status", "--admin", "http://192.0.2.1:1", "--token-file", tokenFile).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not sent over plain http") {
		t.Errorf("a token over plain http: got %v\n%s", err, out)
	}
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var deeds []string
	for line := range strings.Lines(string(text)) {
		var e struct{ Actor, Action, Target, Outcome string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		deeds = append(deeds, e.Actor+" "+e.Action+" "+e.Outcome)
	}
	want := "prometheus explain done, prometheus drain refused,  drain refused, edge e1 drain refused, operator alice drain done"
	if got := strings.Join(deeds, ", "); got != want {
		t.Errorf("the audit log has\n%s\nwant\n%s", got, want)
	}
}
