//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// runtimeFolder has the processes of a test found in a folder of its own.
func runtimeFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "evenkeel") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv(rundir.Env, dir)
	return dir
}

// socketsIn returns the names in a runtime folder.
func socketsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wants holds what a command line says and its exit code against what it should.
func wants(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	got, stdout, stderr := say(t, args...)
	if got != code {
		t.Errorf("evenkeel %v: got exit code %d, want %d:\n%s%s", args, got, code, stdout, stderr)
	}
	for _, want := range words {
		if !strings.Contains(stdout+stderr, want) {
			t.Errorf("evenkeel %v: got\n%s%s\nwant it to say %q", args, stdout, stderr, want)
		}
	}
}

func (s *started) pid() string { return strconv.Itoa(s.cmd.Process.Pid) }

func TestTheOneProcessIsFound(t *testing.T) {
	dir := runtimeFolder(t)
	wants(t, exitFailure, []string{"error: no process here has a master; looked in " + dir, "hint:  evenkeel run or evenkeel master starts one; --admin"}, "status")
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--server", server(t, "a")+",id=a")
	p.serving()
	e := start(t, "edge", "--listen", "127.0.0.1:0", "--admin", "off", "--pool", "web", "--master", "127.0.0.1:1", "--master", "127.0.0.1:2")
	e.serving()
	wants(t, exitFine, []string{"asking run-" + p.pid() + ", admin off\n", "pool default", "all is well"}, "status")
	wants(t, exitFine, []string{"a"}, "explain", "--pool", "default")
	wants(t, exitFine, []string{"server a of pool default gets no new requests"}, "drain", "a", "--pool", "default")
	wants(t, exitFailure, []string{`has no server "b"`, "curl --unix-socket " + filepath.Join(dir, "run-"+p.pid()+".sock")}, "drain", "b", "--pool", "default")
	wants(t, exitFailure, []string{"edge-" + e.pid() + " has no master: it is an edge and asks the master at 127.0.0.1:1 or 127.0.0.1:2"}, "status", "--at", e.pid())
	p.signal(os.Interrupt)
	p.exit(0)
	if got, want := socketsIn(t, dir), []string{"edge-" + e.pid() + ".sock"}; !slices.Equal(got, want) {
		t.Errorf("after the end: got %v, want %v", got, want)
	}
	wants(t, exitFailure, []string{"no process here has a master", "edge-" + e.pid() + " has none: it is an edge and asks the master at 127.0.0.1:1 or 127.0.0.1:2"}, "status")
}

// drained returns the masters of a list that have drained server a of pool web.
func drained(t *testing.T, masters ...*started) (which []*started) {
	t.Helper()
	for _, m := range masters {
		_, admin := m.serving()
		status, body := get(t, "http://"+admin+"/v1/pools/web")
		var pool struct {
			Servers []struct{ ID, State string }
		}
		if err := json.Unmarshal([]byte(body), &pool); err != nil || status != http.StatusOK || len(pool.Servers) != 1 {
			t.Fatalf("got %d %s (%v), want pool web with its server", status, body, err)
		}
		if pool.Servers[0].State == "draining" {
			which = append(which, m)
		}
	}
	return which
}

func TestOfTwoMastersNoneIsTakenUnnamed(t *testing.T) {
	dir := runtimeFolder(t)
	master := func(id string) *started {
		m := start(t, "master", "--id", id, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", "http://127.0.0.1:1,id=a,pool=web", "--pool", "web")
		m.serving()
		return m
	}
	one, two := master("m1"), master("m2")
	_, admin := two.serving()
	listed := []string{"2 processes here have a master, and nothing was done", "master-" + one.pid(), "m1", "master-" + two.pid(), "m2", admin, "hint:  such as --at master-"}
	for _, args := range [][]string{{"drain", "a", "--pool", "web"}, {"status"}, {"explain", "--pool", "web"}} {
		wants(t, exitUsage, listed, args...)
	}
	if got := drained(t, one, two); len(got) > 0 {
		t.Fatalf("drained at %d masters though none was named", len(got))
	}
	for _, at := range []string{two.pid(), "m2", "master-" + two.pid(), filepath.Join(dir, "master-"+two.pid()+".sock")} {
		wants(t, exitFine, []string{"gets no new requests"}, "drain", "a", "--pool", "web", "--at", at)
		if got := drained(t, one, two); len(got) != 1 || got[0] != two {
			t.Errorf("--at %s: drained at %v, want at m2 only", at, got)
		}
		wants(t, exitFine, []string{"takes requests"}, "undrain", "a", "--pool", "web", "--at", at)
	}
	wants(t, exitUsage, []string{"--at m3: there is no such process here, but", "m1", "m2"}, "drain", "a", "--pool", "web", "--at", "m3")
	wants(t, exitFailure, []string{"--at " + dir + "/x.sock: no process answers"}, "drain", "a", "--pool", "web", "--at", dir+"/x.sock")
	wants(t, exitUsage, []string{"--at and --admin cannot go together"}, "status", "--at", "m1", "--admin", admin)

	// One that does not answer may be the one that is meant.
	two.signal(syscall.SIGSTOP)
	eventually(t, "a drain beside a stopped master", func() (string, bool) {
		code, stdout, stderr := say(t, "drain", "a", "--pool", "web")
		return stdout + stderr, code == exitUsage && strings.Contains(stderr, "does not answer")
	})
	two.signal(syscall.SIGCONT)
	if got := drained(t, one, two); len(got) > 0 {
		t.Fatalf("drained at %d masters though none was named", len(got))
	}

	// One that is dead is none, and the next that starts removes its socket.
	two.signal(syscall.SIGKILL)
	<-two.ended
	wants(t, exitFine, []string{"asking master-" + one.pid()}, "status")
	three := master("m3")
	want := []string{"master-" + one.pid() + ".sock", "master-" + three.pid() + ".sock"}
	slices.Sort(want)
	if got := socketsIn(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A role starts without a socket too, and says so.
func TestNoRuntimeFolder(t *testing.T) {
	dir := runtimeFolder(t)
	t.Setenv(rundir.Env, filepath.Join(dir, "missing", "folder"))
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--server", server(t, "a"))
	listen, _ := p.serving()
	p.record("no socket in a runtime folder: commands on this machine reach this process by --admin only; " + rundir.Env + " names another folder")
	if status, _ := get(t, "http://"+listen+"/"); status != http.StatusOK {
		t.Errorf("got %d, want 200", status)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv(rundir.Env, dir)
	wants(t, exitFailure, []string{"looked in " + dir + ": others than its owner can write to it; chmod 0700 mends that\nhint: "}, "status")
	t.Setenv(rundir.Env, rundir.Off)
	wants(t, exitFailure, []string{"processes here are not looked for, as " + rundir.Env + " is off"}, "status")
}

// While one program drains and the next serves, the next is the one that is found, and a command
// that asks again and again follows.
func TestTakenOverIsFollowed(t *testing.T) {
	runtimeFolder(t)
	url, arrived, release := holding(t)
	p := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--server", url+",id=a")
	listen, _ := p.serving()
	answer := make(chan string, 1)
	go func() {
		status, body := get(t, "http://"+listen+"/")
		answer <- fmt.Sprint(status, " ", body)
	}()
	<-arrived
	var watching api
	cmd := &cobra.Command{}
	watching.add(cmd)
	cmd.SetErr(io.Discard)
	if _, err := watching.call(context.Background(), http.MethodGet, "/v1/pools", nil); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGUSR2)
	successor := int(p.record("a new program has taken over")["pid"].(float64))
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(successor, syscall.SIGKILL)
		}
	})
	p.record("draining")
	wants(t, exitFine, []string{fmt.Sprintf("asking run-%d,", successor)}, "status")
	if _, err := watching.call(context.Background(), http.MethodPost, "/v1/pools/default/servers/a/drain", nil); err != nil {
		t.Errorf("after the takeover: %v", err)
	}
	if got := watching.master.process.PID; got != successor {
		t.Errorf("asks %d, want %d, which has taken over", got, successor)
	}
	close(release)
	if got := <-answer; got != "200 late" {
		t.Errorf("got %q, want the answer that was open", got)
	}
	if err := syscall.Kill(successor, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	p.exit(0) // its log ends with the last of the two
}
