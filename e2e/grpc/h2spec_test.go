package grpc

import (
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// specPassed is how many of h2spec's 145 cases must pass. 141 do where nothing else
// takes the machine's time. Four never do: an invalid preface is answered as the HTTP/1
// that it may be, two forbidden fields by 400 instead of a reset, and a SETTINGS frame
// that says one thing twice ends the connection.
const specPassed = 139

func TestSpec(t *testing.T) {
	s := start(t)
	host, port, _ := net.SplitHostPort(s.listen["plain"])
	out, err := exec.Command(programs.h2spec, "-h", host, "-p", port, "-o", "5").CombinedOutput()
	found := regexp.MustCompile(`145 tests, (\d+) passed`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("h2spec: %v\n%s", err, out)
	}
	if passed, _ := strconv.Atoi(string(found[1])); passed < specPassed {
		t.Errorf("%d of 145 cases passed, want %d\n%s", passed, specPassed, out)
	}
}
