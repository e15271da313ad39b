//go:build linux

// Command attack measures the effect of one attacker on another client, by frames of HTTP/2 or by bodies that do not arrive: the p99 of
// requests at a steady rate, with and without the attack, in turns. The edge has one CPU; the attacker, which reconnects whenever it is
// disconnected, has the other. It prints a table and writes build/bench/attack.json.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

const settings = `pools:
  web:
    servers: [{ id: s, address: %[1]q }]
  few:
    servers: [{ id: s, address: %[1]q, slots: 8 }]
edge:
  listeners:
    - listen: %[2]q
      h2c: true
      routes: [{ pool: web }, { path: /few, pool: few }]
`

func main() {
	binary := flag.String("binary", "build/evenkeel", "what to measure")
	rounds := flag.Int("rounds", 5, "turns of each attack")
	length := flag.Duration("length", 3*time.Second, "of a turn")
	rate := flag.Float64("rate", 200, "requests a second of the client that is watched")
	only := flag.String("only", "", "one attack; all if empty")
	out := flag.String("out", "build/bench/attack.json", "file for the figures")
	child := flag.String("child", "", "for the program itself: the attack to make on the address that follows")
	flag.Parse()
	if *child != "" {
		attackFor(*length, *child, flag.Arg(0))
		return
	}
	must(peers.Need("taskset"))
	server := httptest.NewServer(echo.Handler("a"))
	defer server.Close()
	edge, address, stop := serve(*binary, server.Listener.Addr().String())
	defer stop()
	b := &bench{client: load.NewSender(load.Limits{}), address: address, rate: *rate, length: *length}
	b.watch("warm-up")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "attack\tp50 µs\tp99 µs\tp99 without\tratio\terrors\tpeak MiB\t")
	var all []figures.Figure
	for _, kind := range slices.Concat(slices.Sorted(maps.Keys(attacks)), slices.Sorted(maps.Keys(uploads))) {
		if *only != "" && kind != *only {
			continue
		}
		var under, idle []load.Result
		must(forgetPeak(edge.PID()))
		for range *rounds {
			idle = append(idle, b.watch("")...)
			under = append(under, b.watch(kind)...)
		}
		memory, err := peakMiB(edge.PID())
		must(err)
		ratio := micros(under, .99) / micros(idle, .99)
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%d\t%.0f\t\n", kind, micros(under, .5), micros(under, .99), micros(idle, .99), ratio, failed(under), memory)
		all = append(all, figures.Figure{Name: kind + ", another client's p99 over idle", Value: ratio, Unit: "ratio", Goal: "<=2"},
			figures.Figure{Name: kind + ", another client's errors", Value: float64(failed(under)), Unit: "requests", Goal: "<=0"},
			figures.Figure{Name: kind + ", the edge's memory at its peak", Value: memory, Unit: "MiB"})
	}
	must(w.Flush())
	must(figures.Write(*out, all))
}

// serve starts the edge on the first CPU.
func serve(binary, server string) (edge *proc.Process, address string, stop func()) {
	dir, err := os.MkdirTemp("", "evenkeel-attack")
	must(err)
	address, err = freeport.Loopback()
	must(err)
	file := filepath.Join(dir, "evenkeel.yaml")
	must(os.WriteFile(file, fmt.Appendf(nil, settings, server, address), 0o600))
	p, err := proc.Start(nil, "taskset", "-c", "0", binary, "run", "--config", file, "--admin", "off", "--log-format", "json", "--access-log", "off")
	must(err)
	return p, address, func() { p.Kill(); _ = os.RemoveAll(dir) }
}

// forgetPeak sets the peak of a process's resident memory to what it is now.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peakMiB returns the peak of a process's resident memory.
func peakMiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kB); n == 1 {
			return kB / 1024, nil
		}
	}
	return 0, fmt.Errorf("no VmHWM in the status of process %d", pid)
}

// bench is the client that is watched.
type bench struct {
	client  *load.Sender
	address string
	rate    float64
	length  time.Duration
	seed    uint64
}

// watch sends requests for a turn, under an attack if it is one.
func (b *bench) watch(kind string) (all []load.Result) {
	if attacks[kind] != nil || uploads[kind] != nil {
		defer b.attack(kind)()
	}
	b.seed++
	trace := load.LogNormal(b.seed, b.length, b.rate, 1, 1)
	for i := range trace {
		trace[i].Kind = load.HTTP2
	}
	path := "/"
	if uploads[kind] != nil {
		path = "/few"
	}
	load.Send(context.Background(), b.client, []string{"http://" + b.address + path}, trace, func(r load.Result) { all = append(all, r) })
	return all
}

// attack starts an attacker on the second CPU.
func (b *bench) attack(kind string) (stop func()) {
	self, err := os.Executable()
	must(err)
	cmd := exec.Command("taskset", "-c", "1", self, "-length", (b.length + 10*time.Second).String(), "-child", kind, b.address)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(cmd.Start())
	time.Sleep(200 * time.Millisecond) // so that it is at full speed: what it does to us is to be measured, not how it begins
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

func micros(all []load.Result, q float64) float64 {
	took := make([]time.Duration, len(all))
	for i, r := range all {
		took[i] = r.Took
	}
	slices.Sort(took)
	return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3
}

func failed(all []load.Result) (n int) {
	for _, r := range all {
		if r.Status != http.StatusOK {
			n++
		}
	}
	return n
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}
