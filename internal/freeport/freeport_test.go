package freeport

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestTakenOnce takes ports in this process and in another at the same time: no port
// comes twice, each can be listened on, and none is one that the system may choose.
func TestTakenOnce(t *testing.T) {
	const n = 300
	if os.Getenv("FREEPORT_CHILD") != "" {
		for range n {
			port, err := Take("127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("port " + port + "\n")
		}
		os.Stdout.WriteString("all\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent has taken its own
		return
	}
	child := exec.Command(os.Args[0], "-test.run=TestTakenOnce")
	child.Env = append(os.Environ(), "FREEPORT_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range n {
		port, err := Take("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		seen[port] = true
		if number, _ := strconv.Atoi(port); number < low || number >= high {
			t.Errorf("port %s lies outside %d to %d", port, low, high)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	var text strings.Builder
	for b := make([]byte, 4096); !strings.Contains(text.String(), "all\n"); {
		k, err := out.Read(b)
		text.Write(b[:k])
		if err != nil {
			t.Fatalf("the other process ended: %v\n%s", err, text.String())
		}
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(text.String(), "\n") {
		if port, ok := strings.CutPrefix(line, "port "); ok {
			seen[port] = true
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d different ports of %d taken", len(seen), 2*n)
	}
}
