package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// holder is a server that holds each request until it is let go, and answers with the request's body.
type holder struct {
	*httptest.Server
	arrived chan string   // the path of each request that has come, with its body
	let     chan struct{} // one request goes on for each; closed: all do
	left    chan string   // the path of each request whose connection has ended before
}

func startHolder(t testing.TB) *holder {
	h := &holder{arrived: make(chan string, 1000), let: make(chan struct{}, 1000), left: make(chan string, 1000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.arrived <- r.URL.Path
		select {
		case <-h.let:
			_, _ = fmt.Fprintf(w, "answer to %s: %s", r.URL.Path, body)
		case <-r.Context().Done():
			h.left <- r.URL.Path
		}
	}))
	t.Cleanup(h.Close)
	t.Cleanup(func() { close(h.let) }) // first
	return h
}

// oneAtATime is a server, as the file has it, that gets one request at a time. While its master is silent it gets none.
func oneAtATime(h *holder) string {
	return fmt.Sprintf("{id: s1, address: %q, max_in_flight: 1}", h.Listener.Addr())
}

// startKeeper runs a master with one server, and an edge that keeps requests for it. more is what the edge's
// part of the file has besides.
func startKeeper(t *testing.T, server, listen, more string) (m master, e *proc.Process, name string) {
	t.Helper()
	m = startMaster(t, fmt.Sprintf("pools:\n  web: {queue: {wait: 1h}, servers: [%s]}\n", server))
	name = file(t, fmt.Sprintf("edge:\n  id: keeper\n  masters: [%q]\n  admin: 127.0.0.1:0\n%s\n  listeners:\n  - listen: %s\n    h2c: true\n    server_timing: true\n    routes: [{pool: web, respond_async: true, timeout: 1h}]\n", m.Addr("listen"), more, listen))
	e = start(t, "edge", "--config", name)
	ready(t, e)
	return m, e, name
}

// keptDocument is what a status URL tells.
type keptDocument struct {
	State, Reason, Result, Request string
	Status, Position               int
	ExpectedStart                  float64 `json:"expected_start_s"`
}

// keptRequest sends a request by curl that prefers a later answer, and returns its status URL.
func keptRequest(t testing.TB, curl, base string, args ...string) string {
	t.Helper()
	out, err := exec.Command(curl, append([]string{"-sS", "-D", "-", "-o", os.DevNull, "-H", "Prefer: respond-async"}, args...)...).CombinedOutput()
	location := regexp.MustCompile(`(?mi)^location: (\S+)`).FindSubmatch(out)
	if err != nil || location == nil || !bytes.Contains(out, []byte(" 202")) {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	return base + string(location[1])
}

func keptState(t testing.TB, status string) (d keptDocument) {
	t.Helper()
	a := get(t, status)
	if err := json.Unmarshal(a.body, &d); err != nil || a.StatusCode != 200 && a.StatusCode != 303 {
		t.Fatalf("%s: %s %s", status, a.Status, a.body)
	}
	return d
}

func untilKept(t testing.TB, status, state string) (d keptDocument) {
	t.Helper()
	eventually(t, func() (bool, string) {
		d = keptState(t, status)
		return d.State == state, fmt.Sprintf("it is %+v, want %s", d, state)
	})
	return d
}

// Twenty clients prefer later answers from a server that takes one request at a time. Their places fall as others are
// served, and each gets its own answer. One cancels while it waits, one while it is served.
func TestAnswersComeLater(t *testing.T) {
	t.Parallel()
	curl := peer(t, "curl")
	h := startHolder(t)
	_, e, _ := startKeeper(t, oneAtATime(h), "127.0.0.1:0", "")
	base := "http://" + e.Addr("listen")
	const n = 20
	var all [n]string
	for i := range all {
		all[i] = keptRequest(t, curl, base, "-d", fmt.Sprintf("body %d", i), fmt.Sprintf("%s/%d", base, i))
		if i == 0 {
			<-h.arrived // it has the server; the others come in turn
			continue
		}
		eventually(t, func() (bool, string) {
			d := keptState(t, all[i])
			return d.State == "waiting" && d.Position == i, fmt.Sprintf("request %d is %+v, want place %d", i, d, i)
		})
	}
	if a := do(t, "DELETE", all[1], nil); a.StatusCode != 204 {
		t.Fatalf("DELETE: %s", a.Status)
	}
	if a := get(t, all[1]); a.StatusCode != 404 {
		t.Errorf("after DELETE: %s", a.Status)
	}
	eventually(t, func() (bool, string) {
		d := keptState(t, all[n-1])
		return d.Position == n-2, fmt.Sprintf("the last is %+v, want place %d", d, n-2)
	})
	if a := do(t, "DELETE", all[0], nil); a.StatusCode != 204 {
		t.Fatalf("DELETE: %s", a.Status)
	}
	if left := <-h.left; left != "/0" {
		t.Errorf("the server saw %s end, want /0", left)
	}
	for i := 2; i < n; i++ {
		if at := <-h.arrived; at != fmt.Sprintf("/%d", i) {
			t.Errorf("%s is served, want /%d", at, i)
		}
		untilKept(t, all[i], "running")
		h.let <- struct{}{}
	}
	for i := 2; i < n; i++ {
		d := untilKept(t, all[i], "done")
		out, err := exec.Command(curl, "-sSL", all[i]).Output()
		if want := fmt.Sprintf("answer to /%d: body %d", i, i); err != nil || string(out) != want || d.Status != 200 {
			t.Errorf("request %d: %v, %q, %+v, want %q", i, err, out, d, want)
		}
	}
	if left := len(h.left); left != 0 {
		t.Errorf("the server saw %d more requests end", left)
	}
}

// By HTTP/2, with a body that is longer than what an edge keeps in memory, and an answer that expires.
func TestALongBodyIsSpooled(t *testing.T) {
	t.Parallel()
	curl := peer(t, "curl")
	h := startHolder(t)
	spool := t.TempDir()
	_, e, _ := startKeeper(t, fmt.Sprintf("{id: s1, address: %q}", h.Listener.Addr()), "127.0.0.1:0", "  respond_async: {memory: 1MiB, body: 16MiB, answer: 16MiB, keep: 5s, spool: "+spool+"}")
	base := "http://" + e.Addr("listen")
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	name := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
		status := keptRequest(t, curl, base, version, "--data-binary", "@"+name, base+"/long")
		<-h.arrived
		h.let <- struct{}{}
		d := untilKept(t, status, "done")
		out, err := exec.Command(curl, "-sS", version, base+d.Result).Output()
		if err != nil || !bytes.Equal(out, append([]byte("answer to /long: "), body...)) {
			t.Errorf("%s: %v, %d bytes", version, err, len(out))
		}
		eventually(t, func() (bool, string) {
			a := get(t, status)
			return a.StatusCode == 404, "the answer has not expired: " + a.Status
		})
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
		t.Errorf("the spool has %d files, %v", len(left), err)
	}
	if a := get(t, "http://"+e.Addr("admin")+"/metrics"); !strings.Contains(string(a.body), `evenkeel_edge_kept_bytes{place="spool"} 0`) {
		t.Errorf("the spool is not empty:\n%s", regexp.MustCompile("(?m)^evenkeel_edge_kept.*$").FindAll(a.body, -1))
	}
}

// A reload keeps what is kept. After the edge's end it is lost, and said so; what waits is refused, and the log says so too.
func TestKeptRequestsAndTheirEdge(t *testing.T) {
	t.Parallel()
	curl := peer(t, "curl")
	h := startHolder(t)
	listen := freeport.Address(t)
	_, e, name := startKeeper(t, oneAtATime(h), listen, "")
	base := "http://" + listen
	first := keptRequest(t, curl, base, "-d", "x", base+"/first")
	<-h.arrived
	second := keptRequest(t, curl, base, "-d", "x", base+"/second")
	eventually(t, func() (bool, string) {
		d := keptState(t, second)
		return d.Position == 1, fmt.Sprintf("the second is %+v, want place 1", d)
	})
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Replace(text, []byte("h2c: true"), []byte("h2c: false"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) { return strings.Contains(e.Log(), `"reloaded"`), "the edge has not reloaded" })
	if d := keptState(t, first); d.State != "running" {
		t.Errorf("after a reload: %+v", d)
	}
	h.let <- struct{}{}
	untilKept(t, first, "done")
	<-h.arrived
	untilKept(t, second, "running")
	third := keptRequest(t, curl, base, "-d", "x", base+"/third")
	eventually(t, func() (bool, string) {
		d := keptState(t, third)
		return d.Position == 1, fmt.Sprintf("the third is %+v, want place 1", d)
	})
	if err := e.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(e.Log(), `"reason":"edge-stopping"`), "the third has not been given up"
	})
	h.let <- struct{}{} // the second finishes
	<-e.Done()
	if left := len(h.left); left != 0 {
		t.Errorf("the server saw %d requests end", left)
	}
	e = start(t, "edge", "--config", name)
	ready(t, e)
	for _, status := range []string{first, second, third} {
		var p struct{ Reason string }
		a := get(t, status)
		a.into(t, &p)
		if a.StatusCode != 410 || p.Reason != "kept-lost" {
			t.Errorf("after a restart: %s %s", a.Status, a.body)
		}
	}
}

// The commands of docs/respond-async.md.
func TestDocumentedLaterAnswer(t *testing.T) {
	t.Parallel()
	peer(t, "curl")
	h := startHolder(t)
	_, e, _ := startKeeper(t, oneAtATime(h), "127.0.0.1:0", "")
	text, err := os.ReadFile("../docs/respond-async.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(text), "```sh\n")
	script, _, ok := strings.Cut(script, "```")
	if !ok || !strings.Contains(script, "http://127.0.0.1:8080") {
		t.Fatal("docs/respond-async.md has no commands")
	}
	_, yaml, _ := strings.Cut(string(text), "```yaml\n")
	yaml, _, _ = strings.Cut(yaml, "```")
	if out, err := exec.Command(binary, "check", file(t, yaml)).CombinedOutput(); err != nil {
		t.Errorf("evenkeel check of the page's file: %v\n%s", err, out)
	}
	h.let <- struct{}{}
	cmd := exec.Command("sh", "-e", "-c", strings.ReplaceAll(script, "http://127.0.0.1:8080", "http://"+e.Addr("listen")))
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(cmd.Dir, "result"))
	if err != nil || string(got) != "answer to /render: frames=12" {
		t.Errorf("the result is %q, %v", got, err)
	}
}
