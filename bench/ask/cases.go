//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
)

// kase is one thing that is measured, slice after slice.
type kase struct {
	name    string
	what    string // of trial.Order
	edges   int    // processes that ask
	waiting int    // in each of them
	placed  placement
	grpc    bool

	slices []slice
	all    trial.Times
	err    error
}

// placement says which CPU each process is bound to.
type placement uint8

const (
	free     placement = iota
	together           // all on the first CPU
	apart              // those who ask on the second
)

func (p placement) cpus() (master, edge int) {
	switch p {
	case together:
		return 1, 1
	case apart:
		return 1, 2
	}
	return 0, 0
}

// slice is what one turn of a case showed.
type slice struct {
	rate           float64 // asks a second
	master, edge   float64 // CPU µs an ask
	p50, p99, p999 float64 // µs
}

func cases(grpc bool) []*kase {
	var all []*kase
	for _, way := range []string{"tcp", "unix", "tls"} {
		all = append(all, &kase{name: way + " ping", what: "ping-" + way, edges: 1, waiting: 1})
		for _, waiting := range []int{1, 64, 1000} {
			all = append(all, &kase{name: fmt.Sprintf("%s %d waiting", way, waiting), what: way, edges: 1, waiting: waiting})
		}
	}
	for name, p := range map[string]placement{"one CPU": together, "two CPUs": apart} {
		all = append(all,
			&kase{name: "tcp ping, " + name, what: "ping-tcp", edges: 1, waiting: 1, placed: p},
			&kase{name: "tcp 1 waiting, " + name, what: "tcp", edges: 1, waiting: 1, placed: p})
	}
	slices.SortFunc(all[12:], func(a, b *kase) int {
		return cmp.Or(cmp.Compare(a.placed, b.placed), cmp.Compare(b.what, a.what), cmp.Compare(a.name, b.name))
	})
	for _, edges := range []int{4, 16} {
		for _, waiting := range []int{1, 64, 1000 / edges} {
			all = append(all, &kase{name: fmt.Sprintf("tcp %d edges, %d waiting each", edges, waiting), what: "tcp", edges: edges, waiting: waiting})
		}
	}
	for _, waiting := range []int{1, 64, 1000} {
		all = append(all, &kase{name: fmt.Sprintf("in process, %d asking", waiting), what: "local", waiting: waiting})
	}
	if grpc {
		for what, name := range map[string]string{"unary": "gRPC unary", "stream": "gRPC stream each (ext_proc)"} {
			for _, waiting := range []int{1, 64, 1000} {
				all = append(all, &kase{name: fmt.Sprintf("%s, %d waiting", name, waiting), what: what, edges: 1, waiting: waiting, grpc: true})
			}
		}
		slices.SortFunc(all[len(all)-6:], func(a, b *kase) int { return cmp.Or(cmp.Compare(b.what, a.what), cmp.Compare(a.waiting, b.waiting)) })
	}
	return all
}

// theatre is all the processes.
type theatre struct {
	master *trial.Process
	edges  []*trial.Process
	grpc   []*trial.Process // the one that answers, the one that asks
}

const mostEdges = 16

func open(servers int, grpc string) (*theatre, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &theatre{}
	if t.master, err = trial.Start(self, "answer", fmt.Sprint(servers)); err != nil {
		return nil, err
	}
	var places trial.Places
	if err := t.master.Hear(&places); err != nil {
		return nil, fmt.Errorf("the answering process: %w", err)
	}
	for i := range mostEdges {
		e, err := trial.Start(self, "edge", fmt.Sprint(i))
		if err != nil {
			return nil, err
		}
		t.edges = append(t.edges, e)
		if err := e.Say(places); err != nil {
			return nil, err
		}
		var ready bool
		if err := e.Hear(&ready); err != nil {
			return nil, fmt.Errorf("edge %d: %w", i, err)
		}
	}
	if grpc == "" {
		return t, nil
	}
	return t, t.openGRPC(grpc, servers)
}

func (t *theatre) openGRPC(program string, servers int) error {
	server, err := trial.Start(program, "answer", fmt.Sprint(servers))
	if err != nil {
		return err
	}
	t.grpc = append(t.grpc, server)
	var places trial.Places
	if err := server.Hear(&places); err != nil {
		return fmt.Errorf("the process that answers gRPC: %w", err)
	}
	edge, err := trial.Start(program, "edge", "0")
	if err != nil {
		return err
	}
	t.grpc = append(t.grpc, edge)
	return edge.Say(places)
}

func (t *theatre) close() {
	for _, p := range append(append(t.edges, t.grpc...), t.master) {
		if p != nil {
			_ = p.Stop()
		}
	}
}

// play gives a case its turn.
func (t *theatre) play(k *kase, length time.Duration) error {
	master, edges := t.master, t.edges[:k.edges]
	if k.grpc {
		master, edges = t.grpc[0], t.grpc[1:]
	}
	onMaster, onEdge := k.placed.cpus()
	if k.what == "local" {
		r, err := master.Do(trial.Order{What: k.what, Waiting: k.waiting, For: length})
		if err == nil {
			k.enter(r, r.CPU, 0)
		}
		return err
	}
	before, err := master.Do(trial.Order{What: "cpu", CPU: onMaster})
	if err != nil {
		return err
	}
	for _, e := range edges {
		if err := e.Say(trial.Order{What: k.what, Waiting: k.waiting, For: length, CPU: onEdge}); err != nil {
			return err
		}
	}
	var sum trial.Result
	for _, e := range edges {
		var r trial.Result
		if err := e.Hear(&r); err != nil {
			return err
		}
		sum.Merge(&r)
	}
	after, err := master.Do(trial.Order{What: "cpu", CPU: onMaster})
	if err != nil {
		return err
	}
	if sum.Err != "" {
		return fmt.Errorf("%s", sum.Err)
	}
	k.enter(&sum, after.CPU-before.CPU, sum.CPU)
	return nil
}

func (k *kase) enter(r *trial.Result, master, edge time.Duration) {
	n := max(1, float64(r.Asks))
	k.all.Merge(&r.Times)
	k.slices = append(k.slices, slice{
		rate: float64(r.Asks) / r.Elapsed.Seconds(), master: micros(master) / n, edge: micros(edge) / n,
		p50: micros(r.Times.Quantile(.5)), p99: micros(r.Times.Quantile(.99)), p999: micros(r.Times.Quantile(.999)),
	})
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// median over the slices.
func (k *kase) median(of func(slice) float64) float64 {
	if len(k.slices) == 0 {
		return 0
	}
	values := make([]float64, len(k.slices))
	for i, s := range k.slices {
		values[i] = of(s)
	}
	return middle(values)
}

// middle returns the median, and sorts.
func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// best is the lowest over the slices.
func (k *kase) best(of func(slice) float64) float64 {
	if len(k.slices) == 0 {
		return 0
	}
	low := of(k.slices[0])
	for _, s := range k.slices[1:] {
		low = min(low, of(s))
	}
	return low
}

// warm is how long a pool treats a server that has just joined with care. Nothing that is
// measured before would last.
const warm = 11 * time.Second

// measureAsks runs all cases in turns, prints the table and writes the results.
func measureAsks(servers, rounds int, length time.Duration, only, grpc, out string) error {
	t, err := open(servers, grpc)
	if t != nil {
		defer t.close()
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "waiting for the pool to be warm")
	time.Sleep(warm)
	all := cases(grpc != "")
	all = slices.DeleteFunc(all, func(k *kase) bool { return !strings.Contains(k.name, only) })
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "\rround %d of %d", round+1, rounds)
		for _, k := range all {
			if k.err != nil {
				continue
			}
			if round == 0 { // once before it counts
				k.err = t.play(k, length/3)
				k.slices, k.all = nil, trial.Times{}
			}
			if k.err == nil {
				k.err = t.play(k, length)
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	goals := judge(all)
	show(os.Stdout, all, goals, servers)
	return write(out, all, goals)
}
