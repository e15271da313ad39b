package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// A process of this machine is reloaded, and its configuration and log level are seen and set, by its socket.
func TestOperatorsControlAProcess(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("EVENKEEL_RUNTIME_DIR", filepath.Join(dir, "run"))
	t.Setenv("SLOTS_OF_TEST", "8")
	file := filepath.Join(dir, "evenkeel.yaml")
	write := func(slots, policy string) {
		t.Helper()
		text := "pools:\n  web:\n    policy: " + policy + "\n    servers:\n      - { id: a, address: \"127.0.0.1:1\", slots: " + slots + " }\nedge:\n  listeners:\n    - listen: 127.0.0.1:0\n      routes: [ { pool: web } ]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(code int, says string, args ...string) {
		t.Helper()
		got, stdout, stderr := say(t, args...)
		if got != code || !strings.Contains(strings.Join(strings.Fields(stdout+stderr), " "), says) {
			t.Errorf("evenkeel %v: got exit code %d, want %d and %q:\n%s%s", args, got, code, says, stdout, stderr)
		}
	}
	expect(exitFailure, "no process here", "reload")
	write(`"${SLOTS_OF_TEST}"`, "least-load")
	p := start(t, "run", "--config", file, "--admin", "127.0.0.1:0")
	p.serving()

	expect(0, "pools.web.servers[0].slots ${SLOTS_OF_TEST} "+file+":5, environment", "config")
	for _, want := range []string{"pools.web.policy least-load " + file + ":3", "--admin 127.0.0.1:0 flag", "$EVENKEEL_RUNTIME_DIR " + dir, "pools.web.queue.size 1000 default"} {
		expect(0, want, "config")
	}
	expect(0, "no value of the file has changed", "reload")
	write("4", "round-robin")
	expect(0, "pools.web.policy: round-robin (was least-load)", "reload")
	write("16", "round-robin")
	expect(0, "pools.web.servers[0].slots: 16 (was 4)", "reload", "--at", "run-"+pid(p))
	write("0.0001", "round-robin")
	expect(exitFailure, file+":5:", "reload")
	expect(exitFailure, `"reloaded": false`, "reload", "--json")

	expect(0, "records of info and above", "set-log")
	expect(0, "records of error and above, before: info", "set-log", "error")
	if r := p.record("an operator has set the log level"); r["level"] != "error" || r["was"] != "info" {
		t.Errorf("the log says %v", r)
	}
	expect(exitUsage, `level "loud" is not known`, "set-log", "loud")
	expect(exitUsage, "takes no arguments", "reload", "now")
	expect(exitUsage, "no such process", "reload", "--at", "elsewhere")
}

func pid(p *started) string {
	text, _ := json.Marshal(p.cmd.Process.Pid)
	return string(text)
}

// A file is explained without a process.
func TestConfigOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte("agent:\n  pool: web\n  address: 127.0.0.1:1\n  hook: http://ann:geheim@127.0.0.1:9/x?token=geheim\nedge:\n  listeners: [ { listen: \":80\", routes: [ { pool: web } ] } ]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := say(t, "config", file, "--role", "agent")
	if code != 0 || !strings.Contains(out, "agent.pool ") || !strings.Contains(out, file+":2") || strings.Contains(out, "geheim") || strings.Contains(out, "edge.") {
		t.Errorf("exit code %d, want the agent's part without the secret:\n%s%s", code, out, stderr)
	}
	if code, _, stderr := say(t, "config", file, "--role", "king"); code != exitUsage || !strings.Contains(stderr, "want run, master, edge or agent") {
		t.Errorf("an unknown role: exit code %d, %s", code, stderr)
	}
}

// What is in a bug report, and what must not be.
func TestBugreport(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("EVENKEEL_RUNTIME_DIR", filepath.Join(dir, "run"))
	const secret = "geheim-1f2e3d4c5b6a"
	t.Setenv("SECRET_OF_TEST", secret)
	tokens := filepath.Join(dir, "tokens")
	code, token, stderr := say(t, "tokens", "add", tokens, "ann", "read,operate")
	if code != 0 {
		t.Fatal(stderr)
	}
	file := filepath.Join(dir, "evenkeel.yaml")
	text := "master: { admin: 127.0.0.1:0, admin_access: { tokens: " + tokens + " } }\npools:\n  web:\n    servers:\n      - { id: a, address: \"" + freeport.Address(t) + "\", public: \"http://${SECRET_OF_TEST}.example\" }\n      - { id: b, address: \"10.77.0.5:8000\" }\n" +
		"edge:\n  listeners:\n    - listen: 127.0.0.1:0\n      trusted_proxies: [ 127.0.0.0/8 ]\n      routes: [ { pool: web, path: /a } ]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "run", "--config", file)
	listen, _ := p.serving()
	req, err := http.NewRequest("GET", "http://"+listen+"/a?"+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	const client = "203.0.113.77"
	req.Header.Set("X-Forwarded-For", client)
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	out := filepath.Join(dir, "report.tar.gz")
	if code, _, stderr := say(t, "bugreport", "--out", out); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	files := unpacked(t, out)
	for name, want := range map[string]string{"about.txt": "made by evenkeel", "config.json": "pools.web.servers[0].public", "process.json": `"role":"run"`, "status.json": `"id":"b"`, "metrics.txt": "evenkeel_server_up",
		"records.jsonl": `"msg":"serving"`, "goroutines.txt": "goroutine profile", "ready.txt": "ok"} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q:\n%.500s", name, want, files[name])
		}
	}
	hash, _ := os.ReadFile(tokens)
	for name, text := range files {
		for what, never := range map[string]string{"a value of the environment": secret, "a token": strings.TrimSpace(token), "a client's address": client, "a token's hash": strings.Fields(string(hash))[2]} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %s", name, what)
			}
		}
	}
	if !strings.Contains(files["status.json"], "10.77.0.5:8000") {
		t.Errorf("status.json lacks the address of a server, which the file names:\n%s", files["status.json"])
	}
	if code, _, stderr := say(t, "bugreport", "--out", out); code != exitFailure || !strings.Contains(stderr, "does not exist yet") {
		t.Errorf("over another report: exit code %d, %s", code, stderr)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the report has mode %v, %v, want 0600", info.Mode(), err)
	}
}

func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(h.Name)] = string(text)
	}
}

func TestAddressesOfClientsAreHidden(t *testing.T) {
	known := addressesIn([]byte(`"10.0.0.5:8000" [fd00::5]:80 10.0.0.6`))
	for in, want := range map[string]string{
		`"client":"203.0.113.7"`: `"client":"[address]"`, `from 203.0.113.7:4711, again`: `from [address]:4711, again`, `[2001:db8::7]:443`: `[address]:443`, "2001:db8::7": "[address]", "fe80::1%eth0 x": "[address] x",
		"::ffff:203.0.113.7": "[address]", "10.0.0.5:9 10.0.0.6 [fd00::5]:80": "10.0.0.5:9 10.0.0.6 [fd00::5]:80", "127.0.0.1:80 [::1]:80 0.0.0.0": "127.0.0.1:80 [::1]:80 0.0.0.0",
		"2026-11-30T10:00:00.25Z go1.26.4 0.25 main.go:120": "2026-11-30T10:00:00.25Z go1.26.4 0.25 main.go:120", "203.0.113.7.": "[address]",
	} {
		if got := string(hideAddresses([]byte(in), known)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
