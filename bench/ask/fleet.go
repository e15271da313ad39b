//go:build linux

package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// agentsPerProcess keeps each process well below the 20,000 descriptors that one may have.
const agentsPerProcess = 2500

// fleet is a master and the processes that have connections to it.
type fleet struct {
	master *trial.Process
	places trial.Places
	crews  []*trial.Process
	self   string
	number string // the master's: plainly, or withTLS
}

// withTLS is the number of a master that takes connections by TLS only.
const withTLS = 1

// measureFleet shows what n agents cost a master while each reports once a second, what a
// report costs that rides in an ask, and what memory things take that merely are there.
func measureFleet(n int, byTLS bool, out string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f := &fleet{self: self, number: "0"}
	if byTLS {
		f.number = fmt.Sprint(withTLS)
	}
	if f.master, err = trial.Start(self, "master", f.number); err != nil {
		return err
	}
	defer f.master.Stop()
	if err := f.master.Hear(&f.places); err != nil {
		return err
	}
	figures := make(map[string]float64)
	for _, step := range []func(int, map[string]float64) error{f.memory, f.reporting, f.riding} {
		if err := step(n, figures); err != nil {
			return err
		}
	}
	for _, crew := range f.crews {
		defer crew.Stop()
	}
	goals := judgeFleet(figures)
	showFleet(n, figures, goals)
	return saveFleet(out, figures, goals)
}

// saveFleet writes what was measured for programs, the goals first.
func saveFleet(out string, measured map[string]float64, goals []goal) error {
	list := goalFigures(goals)
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		list = append(list, figures.Figure{Name: name, Value: measured[name]})
	}
	return save(out, list)
}

// memory measures what servers, leases and idle edges take.
func (f *fleet) memory(_ int, figures map[string]float64) error {
	for name, what := range map[string]string{"bytes a server": "servers", "bytes a lease": "leases"} {
		r, err := f.alone(what)
		if err != nil {
			return err
		}
		figures[name] = float64(r.RSS) / float64(r.Asks)
	}
	const edges = 1000
	before, err := f.heap()
	if err != nil {
		return err
	}
	crew, err := f.crew("edges", edges, 0)
	if err != nil {
		return err
	}
	after, err := f.heap()
	figures["bytes an idle edge"] = (after - before) / edges
	if err != nil {
		return err
	}
	return crew.Stop()
}

// alone has a master obey one order that leaves its memory in disorder.
func (f *fleet) alone(what string) (*trial.Result, error) {
	p, err := trial.Start(f.self, "master", "0")
	if err != nil {
		return nil, err
	}
	defer p.Stop()
	var places trial.Places
	if err := p.Hear(&places); err != nil {
		return nil, err
	}
	return p.Do(trial.Order{What: what})
}

// crew starts a process with so many connections, the first of that number.
func (f *fleet) crew(role string, n, first int) (*trial.Process, error) {
	crew, err := trial.Start(f.self, role, fmt.Sprint(n))
	if err != nil {
		return nil, err
	}
	if err := crew.Say(f.places); err != nil {
		return nil, err
	}
	if err := crew.Say(first); err != nil {
		return nil, err
	}
	var ready bool
	if err := crew.Hear(&ready); err != nil {
		return nil, fmt.Errorf("%d %s: %w", n, role, err)
	}
	return crew, nil
}

// heap is what the master holds, in bytes: heap and stacks after a collection.
func (f *fleet) heap() (float64, error) {
	r, err := f.master.Do(trial.Order{What: "heap"})
	if err != nil {
		return 0, err
	}
	return float64(r.RSS), nil
}

// reporting connects the agents and has them report.
func (f *fleet) reporting(n int, figures map[string]float64) error {
	before, err := f.heap()
	if err != nil {
		return err
	}
	for first := 0; first < n; first += agentsPerProcess {
		crew, err := f.crew("agents", min(agentsPerProcess, n-first), first)
		if err != nil {
			return err
		}
		f.crews = append(f.crews, crew)
		fmt.Fprintf(os.Stderr, "\r%d agents connected", min(n, first+agentsPerProcess))
	}
	fmt.Fprintln(os.Stderr)
	time.Sleep(warm)
	idle, err := f.heap()
	if err != nil {
		return err
	}
	figures["bytes an agent with its server"] = (idle - before) / float64(n)
	return f.watch(n, figures)
}

// watch compares the master before and after ten seconds.
func (f *fleet) watch(n int, figures map[string]float64) error {
	const length = 10 * time.Second
	var seen [4]*trial.Result
	var at [4]time.Time
	for i, what := range []string{"reports", "cpu", "cpu", "reports"} { // counting costs too
		if i == 2 {
			time.Sleep(length)
		}
		var err error
		if seen[i], err = f.master.Do(trial.Order{What: what}); err != nil {
			return err
		}
		at[i] = time.Now()
	}
	reports := float64(seen[3].Asks-seen[0].Asks) / at[3].Sub(at[0]).Seconds()
	share := (seen[2].CPU - seen[1].CPU).Seconds() / at[2].Sub(at[1]).Seconds()
	resident := float64(seen[1].RSS)
	figures["reports a second"] = reports
	figures["share of a core"] = share
	figures["CPU µs a report on its own"] = share * 1e6 / reports
	figures["MiB resident"] = resident / (1 << 20)
	figures["KiB resident an agent"] = resident / 1024 / float64(n)
	return nil
}

// riding has an edge ask with and without a report for each ask, in turns.
func (f *fleet) riding(_ int, figures map[string]float64) error {
	for _, crew := range f.crews { // their reports would be counted along
		if err := crew.Stop(); err != nil {
			return err
		}
	}
	f.crews = nil
	crew, err := f.crew("reporter", 1, 0)
	if err != nil {
		return err
	}
	defer crew.Stop()
	var differences []float64
	for range 20 {
		var cost [2]float64
		for i, what := range []string{"asks", "asks with reports"} {
			before, err := f.master.Do(trial.Order{What: "cpu"})
			if err != nil {
				return err
			}
			r, err := crew.Do(trial.Order{What: what, Waiting: 64, For: 200 * time.Millisecond})
			if err != nil {
				return err
			}
			after, err := f.master.Do(trial.Order{What: "cpu"})
			if err != nil {
				return err
			}
			cost[i] = micros(after.CPU-before.CPU) / float64(r.Asks)
		}
		differences = append(differences, cost[1]-cost[0])
	}
	figures["CPU µs a report in an ask"] = middle(differences)
	return nil
}

func judgeFleet(figures map[string]float64) []goal {
	var goals []goal
	for _, g := range []struct {
		name  string
		bound float64
	}{
		{"share of a core", .10}, {"MiB resident", 1024}, {"CPU µs a report in an ask", 2},
		{"bytes a server", 1024}, {"bytes a lease", 200},
	} {
		got := figures[g.name]
		goals = append(goals, goal{Name: g.name, Got: got, Bound: g.bound, AtMost: true, Met: got <= g.bound && !math.IsNaN(got)})
	}
	return goals
}

func showFleet(n int, figures map[string]float64, goals []goal) {
	fmt.Printf("%d agents, each with a connection of its own and %d metrics a second.\n\n", n, len(load(0)))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, name := range []string{"reports a second", "share of a core", "CPU µs a report on its own", "CPU µs a report in an ask", "MiB resident", "KiB resident an agent",
		"bytes an agent with its server", "bytes an idle edge", "bytes a server", "bytes a lease"} {
		fmt.Fprintf(w, "%s\t%.4g\n", name, figures[name])
	}
	_ = w.Flush()
	tell(os.Stdout, goals)
}
