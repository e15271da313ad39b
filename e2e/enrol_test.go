package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// site is an installation whose authority's key is kept elsewhere.
type site struct {
	t              *testing.T
	certs, offline string // folders: of what machines have, and of the authority
	denied, audit  string // files of the master
	bearer         string // a file with a token for admin addresses; empty: commands use sockets
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, certs: filepath.Join(t.TempDir(), "certs"), offline: filepath.Join(t.TempDir(), "offline")}
	s.denied, s.audit = filepath.Join(s.certs, "denied"), filepath.Join(s.certs, "audit")
	run(t, "certs", "init", "--dir", s.offline)
	for _, args := range [][]string{{"issue", "master", "m1"}, {"issue", "master", "m2"}, {"issue", "edge", "e1"}, {"issuer", "m1", "--pool", "web"}, {"issuer", "m2", "--pool", "web"}} {
		run(t, append(append([]string{"certs"}, args...), "--dir", s.offline)...)
	}
	if err := os.CopyFS(s.certs, os.DirFS(s.offline)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.certs, "ca.key")); err != nil { // it is on no machine that serves
		t.Fatal(err)
	}
	if err := os.WriteFile(s.denied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(s.certs, "*.key"))
	for _, key := range keys {
		if err == nil {
			err = os.Chmod(key, 0o600) // CopyFS gives files its own mode
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bySocket has commands find the master by its socket, as on its own machine.
func (s *site) bySocket() {
	run, err := os.MkdirTemp("/tmp", "ek-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(run) })
	s.t.Setenv(rundir.Env, run)
}

// byBearer has commands prove themselves at the master's admin address.
func (s *site) byBearer() {
	secret, err := exec.Command(binary, "tokens", "add", s.file("bearers"), "ann", "read,enrol").Output()
	if s.bearer = s.file("ann.token"); err == nil {
		err = os.WriteFile(s.bearer, secret, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// metrics returns those of a master.
func (s *site) metrics(m master) string {
	s.t.Helper()
	if s.bearer == "" {
		return string(get(s.t, m.url("/metrics")).body)
	}
	return string(get(s.t, m.url("/metrics"), "Authorization", "Bearer "+strings.TrimSpace(textOf(s.t, s.bearer))).body)
}

func (s *site) file(name string) string { return filepath.Join(s.certs, name) }

func (s *site) proof(name string) []string {
	return []string{"--tls-ca", s.file("ca.crt"), "--tls-cert", s.file(name + ".crt"), "--tls-key", s.file(name + ".key")}
}

// master runs one of the masters; more are lines of its part.
func (s *site) master(id string, more ...string) master {
	access := fmt.Sprintf("audit: %q", s.audit+id)
	if s.bearer != "" {
		access += fmt.Sprintf(", tokens: %q", s.file("bearers"))
	}
	return startMaster(s.t, fmt.Sprintf("master:\n  id: %[1]s\n  tls: { cert: %[2]q, key: %[3]q, ca: %[4]q, denied: %[5]q }\n  admin_access: { %[6]s }\n  enrol: { cert: %[7]q, key: %[8]q, ttl: 10s%[9]s }\npools:\n  web: { health: { tcp: true } }\n",
		id, s.file("master-"+id+".crt"), s.file("master-"+id+".key"), s.file("ca.crt"), s.denied, access, s.file("issuer-"+id+".crt"), s.file("issuer-"+id+".key"), strings.Join(more, "")))
}

// token has a master make a token in a file.
func (s *site) token(m master, more ...string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "agent.token")
	where := []string{"--at", fmt.Sprint(m.PID())}
	if s.bearer != "" {
		where = []string{"--admin", m.url(""), "--token-file", s.bearer}
	}
	run(s.t, slices.Concat([]string{"certs", "token", "web", "--out", file}, where, more)...)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		s.t.Errorf("the token's file has mode %v (%v), want 0600", info.Mode(), err)
	}
	return file
}

// agent returns the flags of an agent that enrols.
func agentArgs(id string, server *proc.Process, dir string, masters ...master) []string {
	args := []string{"agent", "--pool", "web", "--id", id, "--address", server.Addr("listen"), "--admin", "127.0.0.1:0", "--sample=false", "--certs", dir}
	for _, m := range masters {
		args = append(args, "--master", m.Addr("listen"))
	}
	return args
}

// fails runs a role that must end with exit code 1, and returns what it said.
func fails(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	if code := exitCode(err); code != 1 {
		t.Errorf("evenkeel %s: got exit code %d, want 1:\n%s", strings.Join(args, " "), code, out)
	}
	return string(out)
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}

func textOf(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// As docs/certificates.md says: an authority that is offline, an issuer for the master, a token, and a machine that has nothing but
// that. It joins, serves, renews, survives restarts, and is denied.
func TestAFreshMachineJoinsByAToken(t *testing.T) {
	s := newSite(t)
	s.bySocket()
	m := s.master("m1", fmt.Sprintf(", tokens: %q", s.file("tokens")))
	e := startEdge(t, m, "e1", "web", s.proof("edge-e1")...)
	server, dir := startServer(t, "r1"), filepath.Join(t.TempDir(), "state")
	token := s.token(m, "--address", "127.0.0.0/8")
	a := start(t, append(agentArgs("r1", server, dir, m), "--token-file", token)...)
	serves := func(want string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			got := get(t, "http://"+e.Addr("listen"))
			return got.StatusCode == http.StatusOK && got.server() == want, fmt.Sprintf("%s from %q", got.Status, got.server())
		})
	}
	serves("r1")
	pem := filepath.Join(dir, "agent-r1.pem")
	if info, err := os.Stat(pem); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the agent's file has mode %v (%v), want 0600", info.Mode(), err)
	}

	// A second machine with the same token gets nothing, and the secret is nowhere but in its file.
	other := startServer(t, "r2")
	if said := fails(t, append(agentArgs("r2", other, t.TempDir(), m), "--token-file", token)...); !strings.Contains(said, "used up") {
		t.Errorf("a token used twice: the agent says\n%s", said)
	}
	secret := strings.TrimSpace(textOf(t, token))
	tokens, err := filepath.Glob(s.file("tokens/*"))
	if err != nil || len(tokens) == 0 {
		t.Errorf("the master's folder of tokens: %v, %v", tokens, err)
	}
	places := m.Log() + a.Log() + textOf(t, s.audit+"m1")
	for _, name := range tokens {
		places += name + textOf(t, name)
	}
	for _, pid := range []int{m.PID(), a.PID()} {
		places += textOf(t, fmt.Sprintf("/proc/%d/cmdline", pid))
	}
	for _, part := range []string{secret, secret[len("evenkeel-enrol-"):][20:120]} {
		if strings.Contains(places, part) {
			t.Error("the token stands in a log, a command line or the master's folder")
		}
	}

	// Its certificate is over after ten seconds, and it serves on, with another.
	first := certificate(t, pem)
	eventually(t, func() (bool, string) {
		return strings.Contains(a.Log(), "certificate renewed"), "it has not been renewed"
	})
	if now := certificate(t, pem); now == first {
		t.Error("the file still has the first certificate")
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(m.Log(), "valid from") || strings.Contains(m.Log(), "agent disconnected"), "no connection has ended with its certificate"
	})
	serves("r1")

	// It starts again with what is in its folder, and another one reads its token from standard input.
	if err := a.Stop(proc.StopLimit); err != nil {
		t.Error(err)
	}
	a = start(t, agentArgs("r1", server, dir, m)...)
	serves("r1")
	cmd := exec.Command(binary, append(agentArgs("r2", other, t.TempDir(), m), "--token", "-", "--log-format", "json")...)
	cmd.Stdin = strings.NewReader(textOf(t, s.token(m)))
	b, err := proc.Launch("agent r2", cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	eventually(t, func() (bool, string) { return strings.Contains(m.Log(), `"server":"r2"`), b.Log() })

	// Who is denied is parted from, and gets no other certificate.
	if err := os.WriteFile(s.denied, []byte("agent r1 # lost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(a.Log(), "no master renews the certificate") && strings.Contains(a.Log(), "agent r1 is denied here"), a.Log()
	})
	serves("r2")
	for _, want := range []string{`"action":"make a token"`, `"action":"enrol","target":"web/r1","outcome":"done"`, `"action":"enrol","target":"web/r2","outcome":"refused"`, `"action":"renew","target":"web/r1","outcome":"done"`} {
		if text := textOf(t, s.audit+"m1"); !strings.Contains(text, want) {
			t.Errorf("the audit log has no %s:\n%s", want, text)
		}
	}
	metrics := s.metrics(m)
	for _, want := range []string{`evenkeel_enrolments_total{by="token",result="done"} 2`, `evenkeel_enrolments_total{by="token",result="refused"} 1`, `evenkeel_peers_refused_total{reason="bad-token"} 1`, "evenkeel_issuer_expiry_timestamp_seconds "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the master's metrics lack %s", want)
		}
	}
	if _, err := os.Stat(s.file("ca.key")); err == nil {
		t.Error("the authority's key is where the master is")
	}
}

// certificate returns the first block of a file.
func certificate(t *testing.T, name string) string {
	t.Helper()
	text, _, _ := strings.Cut(textOf(t, name), "-----END")
	return text
}

// An agent whose certificate has ended, as on a machine that was off for long, takes the token that is put into its file.
func TestAnAgentWhoseCertificateHasEndedTakesAnotherToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.byBearer()
	m := s.master("m1")
	deny := func(list string) {
		t.Helper()
		if err := os.WriteFile(s.denied, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	token := s.token(m)
	a := start(t, append(agentArgs("r1", startServer(t, "r1"), t.TempDir(), m), "--token-file", token)...)
	deny("agent r1")
	eventually(t, func() (bool, string) {
		return strings.Contains(a.Log(), "and that is not now"), "its certificate has not ended"
	})
	eventually(t, func() (bool, string) {
		return strings.Contains(a.Log(), "used up"), "it has not tried the token that it has"
	})
	deny("")
	if err := os.WriteFile(token, []byte(textOf(t, s.token(m))), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Count(a.Log(), "got a certificate by a token") == 2 && strings.Count(m.Log(), "agent registered") >= 2, "it has not come back"
	})
}

// A master of another installation, which would sign for anybody, is not sent the token.
func TestAnAgentTellsNoFalseMasterItsToken(t *testing.T) {
	t.Parallel()
	good, other := newSite(t), newSite(t)
	good.byBearer()
	m := good.master("m1")
	token := good.token(m)
	impostor := other.master("m1")
	server, dir := startServer(t, "r1"), t.TempDir()
	if said := fails(t, append(agentArgs("r1", server, dir, impostor), "--token-file", token)...); !strings.Contains(said, "not the one that the token names") {
		t.Errorf("the agent says\n%s", said)
	}
	if text := other.metrics(impostor); !strings.Contains(text, `evenkeel_enrolments_total{by="token",result="refused"} 0`) {
		t.Error("the false master was asked for a certificate")
	}
	// It asks the next one.
	start(t, append(agentArgs("r1", server, dir, impostor, m), "--token-file", token)...)
}

// Two masters that are elected by one etcd count the uses of a token together.
func TestAnElectionsStoreCountsUses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.byBearer()
	etcd := startEtcd(t)
	election := fmt.Sprintf(" }\n  election: { etcd: { endpoints: [\"127.0.0.1:%s\"] }", etcd.port)
	m1, m2 := s.master("m1", election), s.master("m2", election)
	token := s.token(m1, "--uses", "2")
	server := startServer(t, "r")
	start(t, append(agentArgs("r1", server, t.TempDir(), m1, m2), "--token-file", token)...)
	start(t, append(agentArgs("r2", server, t.TempDir(), m2, m1), "--token-file", token)...)
	for _, order := range [][]master{{m1}, {m2}, {m1, m2}} {
		if said := fails(t, append(agentArgs("r3", server, t.TempDir(), order...), "--token-file", token)...); !strings.Contains(said, "used up") {
			t.Errorf("the third agent says\n%s", said)
		}
	}
	short := s.token(m2, "--for", "1m") // each takes what the other has made
	start(t, append(agentArgs("r4", server, t.TempDir(), m1), "--token-file", short)...)
	// One that is taken back at one master is good at none.
	leaked := s.token(m1, "--uses", "9")
	made := textOf(t, s.audit+"m1")
	_, id, _ := strings.Cut(made[strings.LastIndex(made, "make a token"):], `"detail":"token `)
	run(t, "certs", "token", "--revoke", id[:12], "--admin", m2.url(""), "--token-file", s.bearer)
	if said := fails(t, append(agentArgs("r5", server, t.TempDir(), m1), "--token-file", leaked)...); !strings.Contains(said, "ended at") {
		t.Errorf("an agent with a token that was taken back says\n%s", said)
	}
}
