package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo-terminal of 80 columns: the person's, and the
// program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// A person who starts run sees where it listens and which servers answer, a line for each
// request, and trouble in colour.
func TestRunAtATerminal(t *testing.T) {
	for _, colors := range []bool{true, false} {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(server.Close)
		person, program := openTerminal(t)
		cmd := evenkeel(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", server.URL, "--server", "http://127.0.0.1:1")
		cmd.Stderr = program
		if !colors {
			cmd.Env = append(cmd.Env, "NO_COLOR=1")
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = program.Close()                                                 // so that its end is the terminal's
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // until then all must be seen
		t.Cleanup(func() {
			late.Stop()
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		})
		lines := bufio.NewScanner(person)
		seen := ""
		until := func(pattern string) string {
			t.Helper()
			for lines.Scan() {
				seen += lines.Text() + "\n"
				if found := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); found != nil {
					return found[len(found)-1]
				}
			}
			t.Fatalf("no line matches %s:\n%s", pattern, seen)
			return ""
		}
		until(`^evenkeel run `)
		at := until(`^  requests +(http://127\.0\.0\.1:\d+)\r?$`)
		until(`^  pool default +` + regexp.QuoteMeta(strings.TrimPrefix(server.URL, "http://")) + `  answers`)
		if colors {
			until(`^ +127\.0\.0\.1:1  \x1b\[33mdoes not answer now\x1b\[0m`)
		} else {
			until(`^ +127\.0\.0\.1:1  does not answer now`)
		}
		admin := until(`^  admin +(http://127\.0\.0\.1:\d+) `)
		if code, _ := get(t, admin+"/"); code != http.StatusOK {
			t.Errorf("the admin address of the banner answers %d", code)
		}
		long := "/" + strings.Repeat("long/", 40)
		get(t, at+long)
		request := until(` 200 GET .*`)
		if n := len([]rune(strings.TrimRight(request, "\r"))); n > 80 {
			t.Errorf("a request's line has %d columns: %q", n, request)
		}
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		warning := until(`(.*)nothing to reload`)
		if got := strings.Contains(warning, "\x1b[33mWARN "); got != colors {
			t.Errorf("a warning is coloured: %v, want %v: %q", got, colors, warning)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		until(`stopped`)
	}
}
