package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

var update = flag.Bool("update", false, "write testdata/check/*.golden anew")

// asEvenkeel makes the test binary the program itself, so that tests start real processes.
const asEvenkeel = "EVENKEEL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asEvenkeel) != "" {
		main()
	}
	if err := os.Setenv(rundir.Env, rundir.Off); err != nil { // tests of finding processes have folders of their own
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// evenkeel returns a command that runs the program.
func evenkeel(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asEvenkeel+"=1")
	return cmd
}

// say runs a command line in this process.
func say(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	noPart := filepath.Join(t.TempDir(), "no-part.yaml")
	if err := os.WriteFile(noPart, []byte("agent: { pool: web, address: 127.0.0.1:8000 }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, 0, []string{"evenkeel run --server", "evenkeel check", "master | edge | agent"}},
		{[]string{"--help"}, 0, []string{"Four ways to start", "Available Commands", "completion"}},
		{[]string{"version"}, 0, []string{"evenkeel ", "go1."}},
		{[]string{"--version"}, 0, []string{"evenkeel ", "go1."}},
		{[]string{"rnu"}, 2, []string{`error: evenkeel has no command "rnu"`, `did you mean "run"? the commands are run, demo, master`}},
		{[]string{"run"}, 2, []string{"error: run needs a --server or a --config", "hint:  such as evenkeel run --server http://127.0.0.1:8000"}},
		{[]string{"run", "x"}, 2, []string{`takes no arguments, got "x"`}},
		{[]string{"run", "--sever", "x"}, 2, []string{"unknown flag: --sever", "hint:  did you mean --server? evenkeel run --help"}},
		{[]string{"run", "--server", "ftp://a"}, 2, []string{"with http:// or https://", "hint:"}},
		{[]string{"run", "--server", "http://a", "--listen-cert", "x"}, 2, []string{"want a key for each certificate", "hint:"}},
		{[]string{"run", "--server", "http://a", "--listen-cert", "missing.pem", "--listen-key", "missing.key"}, 2, []string{"listeners[0].tls.certificates[0].cert: there is no file missing.pem"}},
		{[]string{"run", "--server", "127.0.0.1"}, 2, []string{"want host:port"}},
		{[]string{"run", "--server", "http://a", "--policy", "best"}, 2, []string{`policy "best" is not known`}},
		{[]string{"run", "--server", "http://a", "--config", "x"}, 2, []string{"--config and --server cannot go together"}},
		{[]string{"run", "--server", "http://a,pool=b"}, 2, []string{"run has one pool, default"}},
		{[]string{"run", "--server", "http://a", "--log-format", "xml"}, 2, []string{`--log-format "xml"`}},
		{[]string{"run", "--server", "http://a", "--log-level", "loud"}, 2, []string{`--log-level "loud"`}},
		{[]string{"run", "--server", "http://a", "--access-log", "maybe"}, 2, []string{`--access-log "maybe"`}},
		{[]string{"run", "--config", missing}, 1, []string{"error: there is no file", "hint:"}},
		{[]string{"run", "--config", noPart}, 1, []string{`has no part "edge"`, "hint:"}},
		{[]string{"master", "--config", noPart}, 1, []string{`has no part "master"`, "hint:"}},
		{[]string{"edge", "--config", noPart}, 1, []string{`has no part "edge"`, "hint:"}},
		{[]string{"agent", "--config", missing}, 1, []string{"there is no file"}},
		{[]string{"check"}, 2, []string{"check takes a file"}},
		{[]string{"check", t.TempDir()}, 1, []string{"is a directory", "hint:"}},
		{[]string{"master"}, 2, []string{"master needs a --pool"}},
		{[]string{"master", "--pool", "a", "--pool", "b", "--server", "http://x"}, 2, []string{"which of the pools a, b?"}},
		{[]string{"master", "--pool", "a", "--pool", "a"}, 2, []string{"--pool a stands twice"}},
		{[]string{"master", "--pool", "a", "--listen", "0.0.0.0:0"}, 1, []string{"beyond loopback", "--insecure"}},
		{[]string{"master", "--pool", "a", "--listen", "127.0.0.1:0", "--admin", ":0"}, 1, []string{"beyond loopback", "--insecure"}},
		{[]string{"edge", "--pool", "a", "--master", "10.0.0.1:7400"}, 1, []string{"master 10.0.0.1:7400: it is beyond loopback", "evenkeel certs", "--insecure"}},
		{[]string{"agent", "--pool", "a", "--address", "127.0.0.1:80", "--master", "10.0.0.1:7400"}, 1, []string{"beyond loopback", "--insecure"}},
		{[]string{"edge", "--pool", "a", "--tls-cert", "x"}, 2, []string{"tls.key: empty", "tls.ca: empty"}},
		{[]string{"edge", "--pool", "a", "--tls-cert", missing, "--tls-key", missing, "--tls-ca", missing}, 1, []string{"no such file", "evenkeel certs init, then evenkeel certs issue edge"}},
		{[]string{"help", "statu"}, 2, []string{`evenkeel has no command "statu"`, `did you mean "status"?`, "the commands are run, demo, master"}},
		{[]string{"help", "certs", "isue"}, 2, []string{`evenkeel certs has no command "isue"`, `did you mean "issue"?`, "init, issue, issuer, token, renew, show"}},
		{[]string{"help", "certs", "issue"}, 0, []string{"ROLE is master, edge or agent"}},
		{[]string{"help"}, 0, []string{"Four ways to start"}},
		{[]string{"completion", "foo"}, 2, []string{`evenkeel completion has no command "foo"`, "the commands are bash, zsh, fish, powershell"}},
		{[]string{"completion", "bash", "x"}, 2, []string{`takes no arguments, got "x"`}},
		{[]string{"completion"}, 0, []string{"bash", "zsh"}},
		{[]string{"certs", "foo"}, 2, []string{`evenkeel certs has no command "foo"`, "init, issue, issuer"}},
		{[]string{"tokens", "foo"}, 2, []string{`evenkeel tokens has no command "foo"`, "add"}},
		{[]string{"election", "foo"}, 2, []string{`evenkeel election has no command "foo"`, "raise"}},
		{[]string{"certs"}, 2, []string{"certs needs a command, such as init, or issue"}},
		{[]string{"certs", "issue", "server", "a"}, 2, []string{"master, edge, agent, operator or reader"}},
		{[]string{"certs", "issue", "edge", "a", "--dir", missing}, 1, []string{"there is no authority", "evenkeel certs init"}},
		{[]string{"edge"}, 2, []string{"edge needs a --pool"}},
		{[]string{"edge", "--pool", "a", "--link", "tunnel"}, 2, []string{`--link "tunnel"`}},
		{[]string{"edge", "--route", "x"}, 2, []string{`--route "x"`}},
		{[]string{"edge", "--pool", "a", "--master", "nowhere"}, 2, []string{`"nowhere" has no port, want host:port`}},
		{[]string{"agent"}, 2, []string{"agent needs a --pool"}},
		{[]string{"agent", "--pool", "a", "--address", "x"}, 2, []string{"want host:port"}},
		{[]string{"agent", "--pool", "a", "--address", "127.0.0.1:80", "--label", "x"}, 2, []string{`--label "x"`}},
		{[]string{"agent", "--pool", "a", "--address", "127.0.0.1:80", "--metric", "x"}, 2, []string{`--metric "x"`}},
		{[]string{"agent", "--pool", "a", "--address", "127.0.0.1:80", "--hook", "x"}, 2, []string{"hook"}},
	} {
		code, stdout, stderr := say(t, c.args...)
		if code != c.code {
			t.Errorf("evenkeel %v: got exit code %d, want %d:\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("evenkeel %v: got\n%s%s\nwant it to say %q", c.args, stdout, stderr, want)
			}
		}
	}
}

// TestCheck holds what check says of each file in testdata/check against its .golden.
func TestCheck(t *testing.T) {
	t.Chdir("testdata/check")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, path := range files {
		code, stdout, stderr := say(t, "check", path)
		golden := strings.TrimSuffix(path, ".yaml") + ".golden"
		got := stdout + stderr
		if host, err := os.Hostname(); err == nil {
			got = strings.ReplaceAll(got, host, "HOSTNAME")
		}
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s: got\n%s\nwant (%v)\n%s\nto accept it: go test ./cmd/evenkeel -run TestCheck -update", path, got, err, want)
		}
		if fine := strings.Contains(got, "is fine"); fine != (code == 0) {
			t.Errorf("%s: got exit code %d for\n%s", path, code, got)
		}
	}
}
