package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

const mostExposed = 2.0 // of 10, by systemd-analyze security

func units(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../packaging/systemd/*.service")
	if err != nil || len(files) < 2 {
		t.Fatalf("got units %q (%v), want those of master and edge", files, err)
	}
	return files
}

func TestServicesAreConfined(t *testing.T) {
	t.Parallel()
	analyze := peer(t, "systemd-analyze")
	for _, unit := range units(t) {
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", unit).CombinedOutput()
		m := regexp.MustCompile(`Overall exposure level for [^:]+: ([0-9.]+)`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("%s: %v\n%s", unit, err, out)
		}
		if exposed, _ := strconv.ParseFloat(string(m[1]), 64); exposed > mostExposed || exposed == 0 {
			t.Errorf("%s: exposure %s, want at most %v\n%s", unit, m[1], mostExposed, out)
		}
	}
}

// lines returns what a unit says of a key.
func lines(t *testing.T, unit, key string) (values []string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// calls returns the system calls that a unit's filter allows. A word with @ is a set of them.
func calls(t *testing.T, unit string) map[string]bool {
	t.Helper()
	analyze := peer(t, "systemd-analyze")
	var members func(word string) []string
	members = func(word string) (all []string) {
		if !strings.HasPrefix(word, "@") {
			return []string{word}
		}
		out, err := exec.Command(analyze, "--no-pager", "syscall-filter", word).Output()
		if err != nil {
			t.Fatalf("systemd-analyze syscall-filter %s: %v", word, err)
		}
		for line := range strings.Lines(string(out)) {
			if inner, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(inner, "#") {
				all = append(all, members(strings.TrimSpace(inner))...)
			}
		}
		return all
	}
	allowed := make(map[string]bool)
	for _, filter := range lines(t, unit, "SystemCallFilter") {
		words, denied := strings.CutPrefix(filter, "~")
		for word := range strings.FieldsSeq(words) {
			for _, name := range members(word) {
				allowed[name] = !denied
			}
		}
	}
	return allowed
}

// refusedCalls are those whose refusal the program does without: the Go runtime raises the
// limit of open files, which the units have set, and gives its processors to its loops.
var refusedCalls = []string{"prlimit64", "setrlimit", "sched_setaffinity"}

// Both units start the program with a file as they say, and what it then asks of the kernel,
// with requests, a reload and a stop, is among what their filter allows.
func TestServicesStartTheProgram(t *testing.T) {
	t.Parallel()
	strace := peer(t, "strace")
	server := startServer(t, "s1")
	wire, admin, edgeAdmin, listen := freeport.Address(t), freeport.Address(t), freeport.Address(t), freeport.Address(t)
	name := file(t, fmt.Sprintf("master: {listen: %q, admin: %q}\npools: {web: {servers: [{id: s1, address: %q}]}}\n"+
		"edge: {id: e1, masters: [%q], admin: %q, listeners: [{listen: %q, routes: [{pool: web}]}]}\n", wire, admin, server.Addr("listen"), wire, edgeAdmin, listen))
	ready := map[string]string{"master": "http://" + admin + "/readyz", "edge": "http://" + edgeAdmin + "/readyz"}
	type traced struct {
		unit, out string
		cmd       *exec.Cmd
	}
	var all []traced
	for _, role := range []string{"master", "edge"} {
		unit := "../packaging/systemd/evenkeel-" + role + ".service"
		command := func(key string) []string {
			values := lines(t, unit, key)
			if len(values) != 1 {
				t.Fatalf("%s: %d lines %s, want one", unit, len(values), key)
			}
			words := strings.Fields(strings.ReplaceAll(values[0], "/etc/evenkeel/evenkeel.yaml", name))
			if words[0] != "/usr/local/bin/evenkeel" {
				t.Fatalf("%s: %s starts %s", unit, key, words[0])
			}
			words[0] = binary
			return words
		}
		before := command("ExecStartPre")
		if out, err := exec.Command(before[0], before[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", before, err, out)
		}
		trace := filepath.Join(t.TempDir(), role)
		cmd := exec.Command(strace, append([]string{"-f", "-qq", "-o", trace}, command("ExecStart")...)...)
		told := notified(t, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		all = append(all, traced{unit, trace, cmd})
		eventually(t, func() (bool, string) {
			res, err := client.Get(ready[role])
			if err != nil {
				return false, role + ": " + err.Error()
			}
			_ = res.Body.Close()
			return res.StatusCode == 200, role + ": " + res.Status
		})
		if types := lines(t, unit, "Type"); !slices.Equal(types, []string{"notify"}) {
			t.Errorf("%s: Type %q, want notify, as the program tells its manager", unit, types)
		}
		if said := <-told; !strings.HasPrefix(said, "READY=1\nMAINPID=") {
			t.Errorf("%s told its manager %q, want that it is ready", role, said)
		}
	}
	for range 10 {
		if a := get(t, "http://"+listen+"/"); a.StatusCode != 200 || a.server() != "s1" {
			t.Fatalf("got %d of %q, want 200 of s1", a.StatusCode, a.server())
		}
	}
	for _, tr := range slices.Backward(all) {
		// strace's own signals go to the program it traces; strace ends with it.
		pid := childOf(t, tr.cmd.Process.Pid)
		for _, signal := range []string{"-HUP", "-TERM"} {
			if out, err := exec.Command("kill", signal, pid).CombinedOutput(); err != nil {
				t.Fatalf("kill %s: %v %s", signal, err, out)
			}
		}
		_ = tr.cmd.Wait()
		text, err := os.ReadFile(tr.out)
		if err != nil {
			t.Fatal(err)
		}
		allowed := calls(t, tr.unit)
		seen := make(map[string]bool)
		for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\(`).FindAllStringSubmatch(string(text), -1) {
			seen[m[1]] = true
		}
		if len(seen) < 20 {
			t.Errorf("%s: only %d system calls were seen", tr.unit, len(seen))
		}
		for name := range seen {
			if !allowed[name] && !slices.Contains(refusedCalls, name) {
				t.Errorf("%s: the filter refuses %s, which the program calls", tr.unit, name)
			}
		}
	}
}

// notified has a program told of a service manager, and returns the first that it tells that one.
func notified(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close(); _ = os.RemoveAll(dir) })
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+at)
	told := make(chan string, 1)
	go func() {
		text := make([]byte, 4096)
		n, _ := socket.Read(text) // or the test has ended
		told <- string(text[:n])
	}()
	return told
}

// childOf returns the process that a process has started.
func childOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	children := strings.Fields(string(text))
	if err != nil || len(children) != 1 {
		t.Fatalf("children of %d: %q (%v), want one", pid, children, err)
	}
	return children[0]
}
