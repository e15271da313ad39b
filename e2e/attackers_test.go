package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Programs that others have made to attack servers, against the defaults.

// slowhttptest holds connections by heads that never end, by bodies that trickle in, and by
// answers that it hardly reads. While it does so, a request of its own is answered at all
// times; connections whose heads do not end are closed once header_timeout is over, before
// its own time is.
func TestSlowHTTPTest(t *testing.T) {
	t.Parallel()
	program := peer(t, "slowhttptest")
	_, _, _, plain := startFronts(t)
	attacks := map[string][]string{"heads": {"-H", "-l", "60"}}
	if *long {
		attacks["bodies"] = []string{"-B", "-l", "40", "-s", "8192"}
		attacks["reads"] = []string{"-X", "-l", "40", "-w", "10", "-y", "20", "-z", "5", "-k", "3"}
	}
	var attacking sync.WaitGroup
	for name, how := range attacks {
		attacking.Go(func() {
			args := append(how, "-c", "100", "-r", "100", "-i", "2", "-p", "15", "-u", "http://"+plain+"/")
			out, err := exec.Command(program, args...).CombinedOutput()
			text := regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]").ReplaceAllString(string(out), "")
			if strings.Contains(text, "NO\n") || !regexp.MustCompile(`service available: +YES`).MatchString(text) {
				t.Errorf("%s: the service was not available at all times (%v):\n%s", name, err, text)
			}
			if name == "heads" && !strings.Contains(text, "No open connections left") {
				t.Errorf("heads that never end: connections were still open at the end:\n%s", text)
			}
		})
	}
	attacking.Wait()
}

// testssl.sh finds nothing, not even of low severity. The short form looks at protocols only.
func TestTestSSL(t *testing.T) {
	t.Parallel()
	program := peer(t, "testssl")
	_, _, secure, _ := startFronts(t)
	found := filepath.Join(t.TempDir(), "found.json")
	checks := []string{"-p"}
	if *long {
		checks = append(checks, "-s", "-H", "-I", "-R", "-C", "-O", "-F", "-J", "-4") // ciphers, and the holes that have names
	}
	out, err := exec.Command(program, slices.Concat([]string{"--quiet", "--color", "0", "--warnings", "off", "--openssl-timeout", "60", "--jsonfile", found}, checks, []string{secure})...).CombinedOutput()
	text, readErr := os.ReadFile(found)
	var all []struct{ ID, Severity, Finding string }
	if readErr != nil || json.Unmarshal(text, &all) != nil {
		t.Fatalf("testssl: %v, %v\n%s", err, readErr, out)
	}
	got := make(map[string]string)
	for _, one := range all {
		got[one.ID] = one.Finding
		if slices.Contains([]string{"LOW", "MEDIUM", "HIGH", "CRITICAL"}, one.Severity) {
			t.Errorf("%s %s: %s", one.ID, one.Severity, one.Finding)
		}
	}
	for id, want := range map[string]string{"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered"} {
		if !strings.HasPrefix(got[id], want) {
			t.Errorf("%s: got %q, want %q", id, got[id], want)
		}
	}
}
