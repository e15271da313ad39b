package grpc

import (
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// specPassed is how many of h2spec's 145 cases must pass. More do where nothing else takes the
// machine's time. Of goroutines, which serve listeners with servers of HTTP/2, four never pass: an
// invalid preface is answered as the HTTP/1 that it may be, two forbidden fields by 400 instead of a
// reset, and a SETTINGS frame that says one thing twice ends the connection. Of loops one never does:
// that of the preface.
const specPassed = 139

func TestSpec(t *testing.T) {
	s := start(t)
	for _, at := range []string{s.listen["plain"], s.other} {
		host, port, _ := net.SplitHostPort(at)
		out, err := exec.Command(programs.h2spec, "-h", host, "-p", port, "-o", "5").CombinedOutput()
		found := regexp.MustCompile(`145 tests, (\d+) passed`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("%s: h2spec: %v\n%s", at, err, out)
		}
		t.Logf("%s: %s", at, found[0])
		if passed, _ := strconv.Atoi(string(found[1])); passed < specPassed {
			t.Errorf("%s: %d of 145 cases passed, want %d\n%s", at, passed, specPassed, out)
		}
	}
}
