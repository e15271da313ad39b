// Package e2e tests the whole system: the roles as processes of their own, on real
// sockets, spoken to by HTTP clients that know nothing of it.
package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "evenkeel-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "evenkeel")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/evenkeel").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build ../cmd/evenkeel: %v\n%s", err, out)
		os.Exit(1)
	}
	if err := lookAtSources(); err != nil {
		panic(err)
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set("6") // unless told otherwise: tests that run beside others mostly wait
	}
	_ = os.Setenv(rundir.Env, rundir.Off) // what runs on this machine beside the tests is not to be found among ours
	code := m.Run()
	if err := writeFigures(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// lookAtSources opens the folders of the program's sources. go test takes no result from its cache when one that a
// test has opened has changed; that of a program which a test has built it does not know.
func lookAtSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		return err
	})
}

// start runs one role for the length of a test and shows its log if the test fails.
func start(t testing.TB, args ...string) *proc.Process {
	t.Helper()
	p, err := proc.Start(nil, binary, append(args, "--log-format", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of evenkeel %s:\n%s", strings.Join(args, " "), p.Log())
		}
	})
	return p
}

// file writes a configuration file for a test.
func file(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "evenkeel.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// master is a running master.
type master struct {
	*proc.Process
	certs string // the folder of the authority that all who connect must be of; empty: none
}

func startMaster(t testing.TB, yaml string) master {
	return master{Process: start(t, "master", "--config", file(t, yaml), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")}
}

func (m master) url(path string) string { return "http://" + m.Addr("admin") + path }

// startEdge runs an edge that sends everything to one pool.
func startEdge(t testing.TB, m master, id, pool string, more ...string) *proc.Process {
	return start(t, append([]string{"edge", "--id", id, "--master", m.Addr("listen"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", pool}, more...)...)
}

// startServer runs a sample server.
func startServer(t testing.TB, id string, more ...string) *proc.Process {
	return start(t, append([]string{"sample-server", "--listen", freeport.Address(t), "--id", id}, more...)...)
}

// startAgent runs an agent beside a server.
func startAgent(t testing.TB, m master, pool, id string, server *proc.Process, more ...string) *proc.Process {
	_, proof := issue(t, m.certs, "agent", id)
	return start(t, slices.Concat([]string{"agent", "--master", m.Addr("listen"), "--pool", pool, "--id", id, "--address", server.Addr("listen"),
		"--admin", "127.0.0.1:0"}, proof, more)...)
}

// client is an HTTP client that follows no redirect by itself and gives up on a hang.
var client = &http.Client{
	Timeout:       2 * time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer is a response read whole.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) server() string { return a.Header.Get("Evenkeel-Server") }

func do(t testing.TB, method, url string, body any, header ...string) answer {
	t.Helper()
	var r io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, read}
}

func get(t testing.TB, url string, header ...string) answer {
	t.Helper()
	return do(t, "GET", url, nil, header...)
}

// into reads a JSON answer.
func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%s answered %s, not the JSON expected: %v\n%s", a.Request.URL, a.Status, err, a.body)
	}
}

// event is one line of a sample server's own record.
type event struct {
	At      int64  `json:"at_ns"`
	Kind    string `json:"kind"`
	Lease   string `json:"lease"`
	Path    string `json:"path"`
	Refused bool   `json:"refused"`
	Fence   string `json:"fence"`
}

func record(t testing.TB, server *proc.Process) (events []event) {
	t.Helper()
	get(t, "http://"+server.Addr("listen")+"/record").into(t, &events)
	return events
}

// served counts the requests for a path that a server's own record shows.
func served(t testing.TB, server *proc.Process, path string) (n int) {
	t.Helper()
	for _, e := range record(t, server) {
		if e.Kind == "request" && e.Path == path {
			n++
		}
	}
	return n
}

// eventually waits until a condition holds, and fails with what it last said if that
// takes longer than any healthy machine needs.
func eventually(t testing.TB, condition func() (ok bool, state string)) {
	t.Helper()
	limit := time.Now().Add(90 * time.Second)
	for {
		ok, state := condition()
		if ok {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("still not so after 90 s: %s\nrun again: go test ./e2e -run '%s' -v", state, t.Name())
		}
		<-time.After(20 * time.Millisecond) // between two looks at another process
	}
}
