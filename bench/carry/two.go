//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
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
