//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/peers"
)

// requestsOfTwo is how many requests of HTTP/2 a turn has: long enough for its cost to be
// seen, since h2load takes no turn of a given time without a warm-up.
const requestsOfTwo = "30000"

var saidByH2load = regexp.MustCompile(`(?s)finished in ([0-9.]+)(s|ms),.*, (\d+) succeeded, 0 failed, 0 errored`)

// generateTwo keeps 8 connections busy with 10 streams each.
func generateTwo(port int, l load) (r result, err error) {
	scheme := "http"
	if l.secure {
		scheme = "https"
	}
	out, err := exec.Command("taskset", "-c", "1", "h2load", "-n", requestsOfTwo, "-c", "8", "-m", "10", fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, port, l.path)).CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	said := saidByH2load.FindSubmatch(out)
	if said == nil {
		return r, fmt.Errorf("h2load: not every request succeeded\n%s", strings.TrimSpace(string(out)))
	}
	if r.Took, err = time.ParseDuration(string(said[1]) + string(said[2])); err != nil {
		return r, err
	}
	r.Requests, err = strconv.Atoi(string(said[3]))
	return r, err
}

// serverOfTwo is nghttpd, a server that speaks HTTP/2 from the first byte. It shares
// its CPU with the generator.
type serverOfTwo struct {
	cmd  *exec.Cmd
	port int
}

// startServerOfTwo returns nil if there is none to start.
func startServerOfTwo(dir string) (*serverOfTwo, error) {
	if err := peers.Need("nghttpd"); err != nil {
		fmt.Fprintln(os.Stderr, "HTTP/2 to servers is left out:", err)
		return nil, nil
	}
	root := filepath.Join(dir, "two")
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "small"), []byte(strings.Repeat("x", 100)), 0o600); err != nil {
		return nil, err
	}
	s := &serverOfTwo{port: freePort()}
	s.cmd = exec.Command("taskset", "-c", "1", "nghttpd", "--no-tls", "--address=127.0.0.1", "--htdocs="+root, strconv.Itoa(s.port))
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, reach(s.address())
}

// address has no listener if there is no server.
func (s *serverOfTwo) address() string {
	if s == nil {
		return "127.0.0.1:1"
	}
	return fmt.Sprintf("127.0.0.1:%d", s.port)
}

func (s *serverOfTwo) stop() {
	if s != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // how it ends no longer matters
	}
}
