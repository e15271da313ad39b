// Command start measures how long it takes from starting the program until it serves:
// exec of `evenkeel run` until the first answer of a server through it. It also weighs
// the binary. It prints a table and writes build/bench/start.json.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

func main() {
	binary := flag.String("binary", "build/evenkeel", "what to measure")
	runs := flag.Int("runs", 21, "starts")
	out := flag.String("out", "build/bench/start.json", "file for the figures")
	flag.Parse()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "served") }))
	defer server.Close()
	var took []time.Duration
	for range *runs {
		took = append(took, start(*binary, server.URL))
	}
	slices.Sort(took)
	info, err := os.Stat(*binary)
	must(err)
	median, worst := took[len(took)/2], took[len(took)-1]
	size := float64(info.Size()) / 1e6
	fmt.Printf("start to first answer: median %v, worst %v of %d\nbinary: %.1f MB\n", median.Round(100*time.Microsecond), worst.Round(100*time.Microsecond), *runs, size)
	must(figures.Write(*out, []figures.Figure{
		{Name: "run, start to first answer", Value: float64(median) / 1e6, Unit: "ms", Goal: "<=100"},
		{Name: "binary", Value: size, Unit: "MB", Goal: "<=30"},
	}))
}

// start runs the program once and returns the time from its start to its first answer.
func start(binary, server string) time.Duration {
	address, err := freeport.Loopback()
	must(err)
	begin := time.Now()
	p, err := proc.Start(nil, binary, "run", "--listen", address, "--admin", "off", "--server", server, "--log-format", "json", "--access-log", "off")
	must(err)
	defer p.Kill()
	resp, err := http.Get("http://" + address + "/")
	must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		must(fmt.Errorf("answered %s\n%s", resp.Status, p.Log()))
	}
	return time.Since(begin)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench start:", err)
		os.Exit(1)
	}
}
