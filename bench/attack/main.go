//go:build linux

// Command attack measures what one attacker who speaks HTTP/2 does to another client: the
// p99 of requests that come at a steady rate, with and without the attack, in turns. The
// edge has one CPU; the attacker, which begins anew whenever it is cut off, has the other.
// It prints a table and writes build/bench/attack.json.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

const settings = `pools:
  web:
    servers: [{ id: s, address: %q }]
edge:
  listeners:
    - listen: %q
      h2c: true
      routes: [{ pool: web }]
`

func main() {
	binary := flag.String("binary", "build/evenkeel", "what to measure")
	rounds := flag.Int("rounds", 5, "turns of each attack")
	length := flag.Duration("length", 3*time.Second, "of a turn")
	rate := flag.Float64("rate", 200, "requests a second of the client that is watched")
	out := flag.String("out", "build/bench/attack.json", "file for the figures")
	child := flag.String("child", "", "for the program itself: the attack to make on the address that follows")
	flag.Parse()
	if *child != "" {
		attackFor(*length, *child, flag.Arg(0))
		return
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "served") }))
	defer server.Close()
	address, stop := serve(*binary, server.Listener.Addr().String())
	defer stop()
	client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	b := &bench{client: client, address: address, rate: *rate, length: *length}
	b.watch("warm-up")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "attack\tp50 µs\tp99 µs\tp99 without\tratio\terrors\t")
	var all []figures.Figure
	for _, kind := range slices.Sorted(maps.Keys(attacks)) {
		var under, idle []load.Result
		for range *rounds {
			idle = append(idle, b.watch("")...)
			under = append(under, b.watch(kind)...)
		}
		ratio := micros(under, .99) / micros(idle, .99)
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%d\t\n", kind, micros(under, .5), micros(under, .99), micros(idle, .99), ratio, failed(under))
		all = append(all, figures.Figure{Name: kind + ", another client's p99 over idle", Value: ratio, Unit: "ratio", Goal: "<=2"},
			figures.Figure{Name: kind + ", another client's errors", Value: float64(failed(under)), Unit: "requests", Goal: "<=0"})
	}
	must(w.Flush())
	must(figures.Write(*out, all))
}

// serve starts the edge on the first CPU.
func serve(binary, server string) (address string, stop func()) {
	dir, err := os.MkdirTemp("", "evenkeel-attack")
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	address = l.Addr().String()
	must(l.Close())
	file := filepath.Join(dir, "evenkeel.yaml")
	must(os.WriteFile(file, fmt.Appendf(nil, settings, server, address), 0o600))
	p, err := proc.Start(nil, "taskset", "-c", "0", binary, "run", "--config", file, "--admin", "off", "--log-format", "json", "--access-log", "off")
	must(err)
	return address, func() { p.Kill(); _ = os.RemoveAll(dir) }
}

// bench is the client that is watched.
type bench struct {
	client  *http.Client
	address string
	rate    float64
	length  time.Duration
	seed    uint64
}

// watch sends requests for a turn, under an attack if it is one.
func (b *bench) watch(kind string) (all []load.Result) {
	if attacks[kind] != nil {
		defer b.attack(kind)()
	}
	b.seed++
	load.Send(context.Background(), b.client, []string{"http://" + b.address + "/"}, load.LogNormal(b.seed, b.length, b.rate, 1, 1), func(r load.Result) { all = append(all, r) })
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
