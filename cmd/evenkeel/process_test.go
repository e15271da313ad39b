package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// patience is how long a test waits for what must come; it is never a measure.
const patience = time.Minute

// started is a process of ours and the records it logs.
type started struct {
	t   *testing.T
	cmd *exec.Cmd

	mu      sync.Mutex
	records []map[string]any
	looked  map[string]int // by message, how many of the records record has gone through
	served  map[string]any // the record of serving, once it has come
	text    bytes.Buffer
	more    chan struct{} // gets one when a record has come
	ended   chan struct{}
}

func start(t *testing.T, args ...string) *started {
	t.Helper()
	return startCommand(t, evenkeel(t, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *started {
	t.Helper()
	s := &started{t: t, cmd: cmd, looked: make(map[string]int), more: make(chan struct{}, 1), ended: make(chan struct{})}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var record map[string]any
			s.mu.Lock()
			fmt.Fprintln(&s.text, lines.Text())
			if json.Unmarshal(lines.Bytes(), &record) == nil {
				s.records = append(s.records, record)
			}
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
		}
		_ = s.cmd.Wait() // the exit code is asked for by exit
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
	})
	return s
}

// record waits for a record with a message and returns it. Called again with the same message it waits for the
// next one.
func (s *started) record(msg string) map[string]any {
	s.t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		for s.looked[msg] < len(s.records) {
			r := s.records[s.looked[msg]]
			s.looked[msg]++
			if r["msg"] == msg {
				s.mu.Unlock()
				return r
			}
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-s.ended:
			s.t.Fatalf("%v ended before it logged %q:\n%s", s.cmd.Args[1:], msg, s.log())
		case <-late:
			s.t.Fatalf("%v did not log %q:\n%s", s.cmd.Args[1:], msg, s.log())
		}
	}
}

func (s *started) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// serving waits until the process serves and returns its addresses.
func (s *started) serving() (listen, admin string) {
	s.t.Helper()
	if s.served == nil {
		s.served = s.record("serving")
	}
	listen, _ = s.served["listen"].(string)
	admin, _ = s.served["admin"].(string)
	return listen, admin
}

func (s *started) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// exit waits for the end and holds the exit code against want.
func (s *started) exit(want int) {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatalf("%v does not end:\n%s", s.cmd.Args[1:], s.log())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("%v: got exit code %d, want %d:\n%s", s.cmd.Args[1:], got, want, s.log())
	}
}

// get returns status and body; a refused connection is status 0.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// eventually asks until the answer is the one that must come.
func eventually(t *testing.T, what string, ask func() (got string, ok bool)) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got, ok := ask()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %s", what, got)
		}
	}
}

// server is an application that says its name.
func server(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return s.URL
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRunServesAndStops(t *testing.T) {
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pprof", "--policy", "round-robin", "--server", server(t, "a"), "--server", server(t, "b")+",slots=2")
	listen, admin := p.serving()
	seen := make(map[string]bool)
	for range 20 {
		status, body := get(t, "http://"+listen+"/")
		if status != http.StatusOK {
			t.Fatalf("got %d %s, want 200", status, body)
		}
		seen[body] = true
	}
	if !seen["a"] || !seen["b"] {
		t.Errorf("got answers of %v, want both servers'", seen)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/pools", "/edge/metrics", "/edge/readyz", "/debug/pprof/", "/debug/pprof/heap?debug=1"} {
		if status, body := get(t, "http://"+admin+path); status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", path, status, body)
		}
	}
	if r := p.record("request"); r["status"] != float64(200) || r["pool"] != "default" {
		t.Errorf("got access record %v", r)
	}
	p.signal(os.Interrupt)
	p.exit(0)
}

func TestProfilesAreServedWhereAskedFor(t *testing.T) {
	for flag, want := range map[string]int{"--pprof=false": http.StatusNotFound, "--pprof": http.StatusOK} {
		p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", flag, "--server", "http://127.0.0.1:1")
		_, admin := p.serving()
		if status, _ := get(t, "http://"+admin+"/debug/pprof/"); status != want {
			t.Errorf("%s: got %d, want %d", flag, status, want)
		}
		p.signal(os.Interrupt)
		p.exit(0)
	}
}

// holding is a server that holds every request until it is let go.
func holding(t *testing.T) (url string, arrived, release chan struct{}) {
	arrived, release = make(chan struct{}, 8), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "late")
	}))
	t.Cleanup(s.Close)
	return s.URL, arrived, release
}

func TestStopFinishesWhatIsOpen(t *testing.T) {
	url, arrived, release := holding(t)
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--access-log", "off", "--server", url)
	listen, _ := p.serving()
	answer := make(chan string, 1)
	go func() {
		status, body := get(t, "http://"+listen+"/")
		answer <- fmt.Sprint(status, " ", body)
	}()
	<-arrived
	p.signal(syscall.SIGTERM)
	if r := p.record("draining"); r["requests"] != float64(1) {
		t.Errorf("got %v requests draining, want 1", r["requests"])
	}
	eventually(t, "a connection while draining", func() (string, bool) {
		c, err := net.Dial("tcp", listen)
		if err == nil {
			_ = c.Close() // only whether it can be made matters
		}
		return "accepted", err != nil
	})
	close(release)
	if got := <-answer; got != "200 late" {
		t.Errorf("got %q, want the answer that was open", got)
	}
	p.exit(0)
	if strings.Contains(p.log(), `"msg":"request"`) {
		t.Errorf("got access records though they are off:\n%s", p.log())
	}
}

// GNU timeout signals its child and then its child's group.
func TestASignalThatIsSentTwiceCutsNothingOff(t *testing.T) {
	url, arrived, release := holding(t)
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--server", url)
	listen, _ := p.serving()
	answer := make(chan string, 1)
	go func() {
		status, body := get(t, "http://"+listen+"/")
		answer <- fmt.Sprint(status, " ", body)
	}()
	<-arrived
	p.signal(syscall.SIGTERM)
	p.signal(os.Interrupt) // another, as two of a kind may come as one
	p.record("a second signal to stop came at once and counts as the same one")
	close(release)
	if got := <-answer; got != "200 late" {
		t.Errorf("got %q, want the answer that was open", got)
	}
	p.exit(0)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	url, arrived, release := holding(t)
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--server", url)
	listen, _ := p.serving()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		get(t, "http://"+listen+"/")
	}()
	<-arrived
	p.signal(os.Interrupt)
	p.record("draining")
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				_ = p.cmd.Process.Signal(os.Interrupt) // until one comes late enough to be another
			}
		}
	}()
	p.exit(1)
	close(stop)
	if !strings.Contains(p.log(), "stopped by a second signal: 1 request cut off") {
		t.Errorf("got\n%s\nwant it to say what was cut off", p.log())
	}
	<-gone
	close(release)
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	at := taken.Addr().String()
	path := filepath.Join(t.TempDir(), "f.yaml")
	write(t, path, fmt.Sprintf("master: { listen: %q, admin: \"off\" }\npools: { web: {} }\nedge: { admin: %[1]q, listeners: [ { listen: \"127.0.0.1:0\", routes: [ { pool: web } ] } ] }\n", at))
	second := filepath.Join(t.TempDir(), "f.yaml")
	write(t, second, fmt.Sprintf("pools: { web: {} }\nedge: { admin: \"off\", listeners: [ { listen: \"127.0.0.1:0\", routes: [ { pool: web } ] }, { listen: %q, routes: [ { pool: web } ] } ] }\n", at))
	for _, c := range []struct {
		key  string
		args []string
	}{
		{"--listen", []string{"run", "--listen", at, "--admin", "off", "--server", "http://127.0.0.1:1"}},
		{"--admin", []string{"run", "--listen", "127.0.0.1:0", "--admin", at, "--server", "http://127.0.0.1:1"}},
		{"--listen", []string{"master", "--pool", "a", "--listen", at, "--admin", "off"}},
		{"--listen", []string{"edge", "--pool", "a", "--listen", at, "--admin", "off"}},
		{"--admin", []string{"agent", "--pool", "a", "--address", "127.0.0.1:1", "--admin", at}},
		{"master.listen", []string{"master", "--config", path}},
		{"master.listen", []string{"run", "--config", path}},
		{"edge.admin", []string{"edge", "--config", path}},
		{second + ": edge.listeners[1].listen", []string{"edge", "--config", second}},
		{"--listen", []string{"sample-server", "--listen", at}},
	} {
		code, _, stderr := say(t, c.args...)
		if code != 1 || !strings.Contains(stderr, "error: "+c.key+": listen on "+at+": address already in use\nhint:  stop ") {
			t.Errorf("%v: got exit code %d:\n%s\nwant it to name %s", c.args, code, stderr, c.key)
		}
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evenkeel.yaml")
	file := func(listen, address, policy string) string {
		return fmt.Sprintf("pools:\n  web: { policy: %s, servers: [{ address: %s }] }\nedge:\n  listeners:\n    - { listen: %q, routes: [{ pool: web }] }\n", policy, address, listen)
	}
	a, b := strings.TrimPrefix(server(t, "a"), "http://"), strings.TrimPrefix(server(t, "b"), "http://")
	write(t, path, file("127.0.0.1:0", a, "random"))
	p := start(t, "run", "--config", path, "--admin", "off")
	listen, _ := p.serving()
	if _, body := get(t, "http://"+listen); body != "a" {
		t.Fatalf("got %q, want a", body)
	}

	write(t, path, file("127.0.0.1:0", b, "rnadom"))
	p.signal(syscall.SIGHUP)
	r := p.record("problem in the file")
	if at, _ := r["at"].(string); !strings.HasSuffix(at, "evenkeel.yaml:2:18") {
		t.Errorf("got position %q, want evenkeel.yaml:2:18", at)
	}
	if _, body := get(t, "http://"+listen); body != "a" {
		t.Errorf("after a bad file: got %q, want the old a", body)
	}

	write(t, path, file("127.0.0.1:0", b, "random")+"  id: another\nmaster: { admin: '127.0.0.1:1', drains_file: x }\n")
	p.signal(syscall.SIGHUP)
	p.record("reloaded")
	p.record("edge.id, master.admin, master.drains_file have changed: needs a restart")
	if _, body := get(t, "http://"+listen); body != "b" {
		t.Errorf("after a good file: got %q, want b", body)
	}
	p.signal(os.Interrupt)
	p.exit(0)
}

// Once a file is said to be reloaded, every new connection is served by it.
func TestConnectionsAfterAReloadAreServedByIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evenkeel.yaml")
	file := func(pool string) string {
		return fmt.Sprintf("pools: { a: { servers: [{ address: %s }] }, b: { servers: [{ address: %s }] } }\nedge: { listeners: [{ listen: 127.0.0.1:0, routes: [{ pool: %s }] }] }\n",
			strings.TrimPrefix(server(t, "a"), "http://"), strings.TrimPrefix(server(t, "b"), "http://"), pool)
	}
	both := map[string]string{"a": file("a"), "b": file("b")}
	write(t, path, both["b"])
	p := start(t, "run", "--config", path, "--admin", "off", "--access-log", "off")
	listen, _ := p.serving()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for i := range 100 {
		pool := []string{"a", "b"}[i%2]
		write(t, path, both[pool])
		p.signal(syscall.SIGHUP)
		p.record("reloaded")
		res, err := client.Get("http://" + listen)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != pool {
			t.Fatalf("after reload %d: got %q from the pool before, want %q", i, body, pool)
		}
	}
	p.signal(os.Interrupt)
	p.exit(0)
}

// While files are reloaded again and again, no request fails.
func TestReloadLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evenkeel.yaml")
	write(t, path, fmt.Sprintf("pools: { web: { servers: [{ address: %s }] } }\nedge: { listeners: [{ listen: 127.0.0.1:0, routes: [{ pool: web }] }] }\n",
		strings.TrimPrefix(server(t, "a"), "http://")))
	p := start(t, "run", "--config", path, "--admin", "off", "--access-log", "off")
	listen, _ := p.serving()
	for range 5 {
		p.signal(syscall.SIGHUP)
		for range 10 {
			if status, body := get(t, "http://"+listen); status != http.StatusOK {
				t.Errorf("got %d %s, want 200", status, body)
			}
		}
	}
	p.signal(os.Interrupt)
	p.exit(0)
}

func TestSeparateProcesses(t *testing.T) {
	m := start(t, "master", "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	wire, admin := m.serving()
	e := start(t, "edge", "--pool", "web", "--master", wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	listen, edgeAdmin := e.serving()
	a := start(t, "agent", "--pool", "web", "--id", "one", "--master", wire, "--address", strings.TrimPrefix(server(t, "a"), "http://"), "--admin", "127.0.0.1:0", "--label", "zone=b")
	_, agentAdmin := a.serving()
	eventually(t, "the server that joined", func() (string, bool) {
		status, body := get(t, "http://"+listen)
		return fmt.Sprint(status, " ", body), status == http.StatusOK && body == "a"
	})
	for _, at := range []string{admin, edgeAdmin, agentAdmin} {
		for _, path := range []string{"/readyz", "/metrics"} {
			if status, body := get(t, "http://"+at+path); status/100 != 2 {
				t.Errorf("%s: got %d %s, want 2xx", path, status, body)
			}
		}
	}
	a.signal(syscall.SIGTERM)
	a.exit(0)
	eventually(t, "a request without servers", func() (string, bool) {
		status, body := get(t, "http://"+listen)
		return fmt.Sprint(status, " ", body), status == http.StatusServiceUnavailable
	})
	for _, p := range []*started{e, m} {
		p.signal(syscall.SIGTERM)
		p.exit(0)
	}
}

// An application that does not run gets nothing, and the master says why; once it runs it does.
func TestAgentOfAnApplicationThatDoesNotRun(t *testing.T) {
	address := freeport.Address(t)
	path := filepath.Join(t.TempDir(), "evenkeel.yaml")
	write(t, path, "master: { listen: 127.0.0.1:0, admin: 127.0.0.1:0 }\npools: { web: {} }\nedge: { listeners: [{ listen: 127.0.0.1:0, routes: [{ pool: web }] }] }\n")
	m := start(t, "run", "--config", path)
	listen, admin := m.serving()
	a := start(t, "agent", "--pool", "web", "--id", "one", "--master", m.served["wire"].(string), "--address", address, "--admin", "off")
	state := func(want string) {
		t.Helper()
		eventually(t, "the server is "+want, func() (string, bool) {
			_, body := get(t, "http://"+admin+"/v1/pools/web")
			return body, strings.Contains(body, want)
		})
	}
	state(`"unhealthy":"nothing listens at ` + address)
	state(`"state":"ejected"`)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a") }))
	app.Listener = l
	app.Start()
	state(`"state":"up"`)
	if status, body := get(t, "http://"+listen); status != http.StatusOK || body != "a" {
		t.Errorf("got %d %s, want 200 a", status, body)
	}
	app.Close()
	state(`"unhealthy":"nothing listens at ` + address)
	a.signal(syscall.SIGTERM)
	a.exit(0)
}

// A second process on the machine takes another port than the default admin address, and says which.
func TestDefaultAdminTaken(t *testing.T) {
	taken, err := net.Listen("tcp", settings.DefaultMasterAdmin)
	if err == nil {
		defer func() { _ = taken.Close() }()
	} // else another program has it, which does as well
	p := start(t, "run", "--listen", "127.0.0.1:0", "--server", "http://127.0.0.1:1")
	_, admin := p.serving()
	if status, _ := get(t, "http://"+admin+"/healthz"); status != http.StatusOK || admin == settings.DefaultMasterAdmin {
		t.Errorf("at admin address %q: status %d, want 200 at another port than the default", admin, status)
	}
	if r := p.record("another process uses the default admin address, so this one uses another port; --admin sets one"); r["taken"] != settings.DefaultMasterAdmin || r["admin"] != admin {
		t.Errorf("the log says %v, want both addresses", r)
	}
	p.signal(os.Interrupt)
	p.exit(0)
}

// Two agents on one machine each have an admin address, and say which.
func TestDefaultAdminOfTwoAgents(t *testing.T) {
	m := start(t, "master", "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	wire, _ := m.serving()
	seen := make(map[string]bool)
	for _, id := range []string{"one", "two"} {
		a := start(t, "agent", "--pool", "web", "--id", id, "--master", wire, "--address", strings.TrimPrefix(server(t, id), "http://"))
		_, admin := a.serving()
		eventually(t, "the agent is ready", func() (string, bool) {
			status, body := get(t, "http://"+admin+"/readyz")
			return fmt.Sprint(status, " ", body), status == http.StatusOK
		})
		if _, page := get(t, "http://"+admin+"/metrics"); !strings.Contains(page, "evenkeel_agent_connected 1") {
			t.Errorf("%s does not tell of an agent", admin)
		}
		if admin != settings.DefaultAgentAdmin && !strings.Contains(a.log(), "uses another port") {
			t.Errorf("%s is not the default, and the log does not say so:\n%s", admin, a.log())
		}
		seen[admin] = true
	}
	if len(seen) != 2 {
		t.Errorf("admin addresses %v, want two", seen)
	}
}

func TestReloadOfSeparateRoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evenkeel.yaml")
	address := strings.TrimPrefix(server(t, "a"), "http://")
	file := func(pools, route string) string {
		return fmt.Sprintf("master: { listen: 127.0.0.1:0, admin: 127.0.0.1:0 }\npools: %s\nedge: { admin: 127.0.0.1:0, listeners: [{ listen: 127.0.0.1:0, routes: [%s] }] }\n", pools, route)
	}
	write(t, path, file("{ web: {} }", "{ path: /old, pool: web }"))
	m := start(t, "master", "--config", path)
	wire, admin := m.serving()
	e := start(t, "edge", "--config", path, "--master", wire)
	listen, edgeAdmin := e.serving()
	status := func(url string, want int) {
		t.Helper()
		eventually(t, url, func() (string, bool) {
			status, body := get(t, url)
			return fmt.Sprint(status, " ", body), status == want
		})
	}
	status("http://"+listen+"/old", http.StatusServiceUnavailable)

	write(t, path, file("{ web: { servers: [{ address: "+address+" }] } }", "{ path: /new, pool: web }"))
	m.signal(syscall.SIGHUP)
	m.record("reloaded")
	e.signal(syscall.SIGHUP)
	e.record("reloaded")
	status("http://"+listen+"/new", http.StatusOK)
	status("http://"+listen+"/old", http.StatusNotFound)
	status("http://"+admin+"/v1/pools/web", http.StatusOK)
	status("http://"+edgeAdmin+"/readyz", http.StatusOK)

	write(t, path, file("{ web: {}, more: { servers: [{ address: "+address+" }] } }", "{ path: /more, pool: more }"))
	m.signal(syscall.SIGHUP)
	m.record("reloaded")
	e.signal(syscall.SIGHUP)
	e.record("reloaded")
	status("http://"+listen+"/more", http.StatusOK)
	status("http://"+listen+"/new", http.StatusNotFound)
	for _, p := range []*started{e, m} {
		p.signal(syscall.SIGTERM)
		p.exit(0)
	}
}

// A command whose reader has seen enough ends quietly, as other tools do.
func TestStdoutClosed(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	defer out.Close()
	for _, args := range [][]string{{"--help"}, {"version"}, {"simulate", "--help"}} {
		var stderr bytes.Buffer
		cmd := evenkeel(t, args...)
		cmd.Stdout, cmd.Stderr = out, &stderr
		err := cmd.Run()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGPIPE {
			t.Errorf("%v: got %v, want an end by SIGPIPE", args, err)
		}
		if stderr.Len() > 0 {
			t.Errorf("%v says %q", args, stderr.String())
		}
	}
}

// With all servers dead, status and explain say so first.
func TestAllServersAreDead(t *testing.T) {
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", "http://"+freeport.Address(t), "--server", "http://"+freeport.Address(t))
	listen, admin := p.serving()
	eventually(t, "status tells that no server is up", func() (string, bool) {
		get(t, "http://"+listen)
		_, out, _ := say(t, "status", "--admin", admin)
		return out, strings.Contains(out, "pool default has no server that is up: 2 unreachable")
	})
	if _, out, stderr := say(t, "explain", "--admin", admin, "--pool", "default"); !strings.Contains(out, "every server of the pool is out") {
		t.Errorf("explain says\n%s%s", out, stderr)
	}
}

// An edge whose pool no master knows says so before a request comes, with the name that was meant.
func TestUnknownPool(t *testing.T) {
	m := start(t, "master", "--pool", "render", "--listen", "127.0.0.1:0", "--admin", "off")
	wire, _ := m.serving()
	e := start(t, "edge", "--master", wire, "--pool", "rendr", "--listen", "127.0.0.1:0", "--admin", "off")
	r := e.record("the master does not know a pool that routes of this edge lead to")
	if err, _ := r["err"].(string); r["master"] != wire || err != `no pool "rendr" here; did you mean "render"?; it has render` {
		t.Errorf("the edge logs %v", r)
	}
	if strings.Contains(e.log(), "asking another master") {
		t.Errorf("the edge asks another master, and there is one:\n%s", e.log())
	}
}

// An edge whose route leads to a pool that no master has is not ready until one has it, and says where the route stands.
func TestAnEdgeWithoutItsPoolIsNotReady(t *testing.T) {
	dir := t.TempDir()
	masters, edges := filepath.Join(dir, "masters.yaml"), filepath.Join(dir, "edge.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wire := freeport.Address(t)
	write(masters, "master: { listen: \""+wire+"\", admin: off }\npools: { render: {} }\n")
	write(edges, "edge:\n  masters: [\""+wire+"\"]\n  admin: 127.0.0.1:0\n  listeners:\n    - listen: 127.0.0.1:0\n      routes:\n        - { pool: render, path: /a }\n        - { pool: rendr }\n")
	if code, _, stderr := say(t, "check", masters, edges); code != exitFailure || !strings.Contains(stderr, edges+":8:") || !strings.Contains(stderr, `"rendr" is none of `+masters+`'s pools: render; did you mean "render"?`) {
		t.Errorf("check of both files: exit code %d, %s", code, stderr)
	}
	m := start(t, "master", "--config", masters)
	m.serving()
	e := start(t, "edge", "--config", edges)
	_, admin := e.serving()
	ready := func(want string) {
		t.Helper()
		eventually(t, "readiness: "+want, func() (string, bool) {
			res, err := http.Get("http://" + admin + "/readyz")
			if err != nil {
				return err.Error(), false
			}
			defer func() { _ = res.Body.Close() }()
			text, _ := io.ReadAll(res.Body)
			said := res.Status + " " + string(text)
			return said, strings.Contains(said, want)
		})
	}
	ready(`503 Service Unavailable no master has pool "rendr", to which edge.listeners[0].routes[1] (` + edges + `:8) leads: no pool "rendr" here; did you mean "render"?; it has render`)
	write(masters, "master: { listen: \""+wire+"\", admin: off }\npools: { render: {}, rendr: {} }\n")
	m.signal(syscall.SIGHUP)
	ready("200 OK ready")
	write(masters, "master: { listen: \""+wire+"\", admin: off }\npools: { render: {} }\n")
	m.signal(syscall.SIGHUP)
	// Other routes of an edge that was ready go on; one that begins now is not ready, nor is one of which no route is left.
	ready("200 OK degraded: requests of some routes are refused, the others go on\nno master has pool \"rendr\"")
	e.signal(syscall.SIGHUP)
	e.record("reloaded")
	ready("200 OK degraded: ")
	_, second := start(t, "edge", "--config", edges).serving()
	first := admin
	admin = second
	ready("503 Service Unavailable no master has pool \"rendr\"")
	write(masters, "master: { listen: \""+wire+"\", admin: off }\npools: { render: {}, rendr: {} }\n")
	m.signal(syscall.SIGHUP)
	ready("200 OK ready")
	admin = first
	ready("200 OK ready")
	write(masters, "master: { listen: \""+wire+"\", admin: off }\npools: { other: {} }\n")
	m.signal(syscall.SIGHUP)
	ready("503 Service Unavailable no master has pool \"render\"")
}
