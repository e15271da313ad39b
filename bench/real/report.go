//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// results are what was measured.
type results struct {
	cfg        *config
	jobs       []job
	names      []string  // of the services, with what they are
	costs      []float64 // CPU seconds, of each service's jobs in turn
	capacity   []float64 // requests a second of each service
	agentShare float64   // of a core that one agent uses; zero: not measured
	calm       map[string][]answer
	trouble    map[string][]summary // by contender, of each phase
}

func (s summary) String() string {
	return fmt.Sprintf("%4d requests  mean %6.0f ms  p95 %6.0f ms  failed %d", s.Requests, 1e3*s.Mean, 1e3*s.P95, s.Failed)
}

// describe prints what was found about the services.
func (r *results) describe() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "CPU seconds")
	for _, j := range r.jobs {
		fmt.Fprintf(w, "\t%s", j.name)
	}
	fmt.Fprintln(w, "\trequests/s")
	for i, name := range r.names {
		fmt.Fprint(w, name)
		for k := range r.jobs {
			fmt.Fprintf(w, "\t%.3f", r.costs[i*len(r.jobs)+k])
		}
		fmt.Fprintf(w, "\t%.1f\n", r.capacity[i])
	}
	_ = w.Flush() // to the terminal
	fmt.Printf("all together %.1f/s, of which %.0f %% are asked for\n", sum(r.capacity), 100*r.cfg.use)
}

// keep writes every answer of a run.
func (r *results) keep(where string, answers []answer) error {
	b, err := json.Marshal(answers)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.cfg.runs, where, "answers.json"), b, 0o644)
}

// report writes the figures with their goals. With -smoke it fails if anything went wrong.
func (r *results) report() error {
	var all []figures.Figure
	add := func(name string, value float64, unit, goal string) {
		if r.cfg.smoke {
			goal = ""
		}
		if !math.IsInf(value, 0) && !math.IsNaN(value) {
			all = append(all, figures.Figure{Name: name, Value: value, Unit: unit, Goal: goal})
		}
	}
	foreign, failed := 0, 0
	turns := make(map[string]summary)
	for _, name := range contenders {
		s := summarise(r.calm[name], 0, 1<<62)
		turns[name] = s
		add("calm, "+name+", mean", 1e3*s.Mean, "ms", "")
		add("calm, "+name+", p95", 1e3*s.P95, "ms", "")
		add("calm, "+name+", failed", float64(s.Failed), "requests", "")
		foreign, failed = foreign+s.Foreign, failed+s.Failed
	}
	best := func(value func(summary) float64) float64 { return min(value(turns[haproxy]), value(turns[nginx])) }
	for _, f := range []struct {
		name  string
		value func(summary) float64
	}{{"mean", func(s summary) float64 { return s.Mean }}, {"p95", func(s summary) float64 { return s.P95 }}} {
		ours := f.value(turns[withAgents])
		add("calm, "+f.name+" with agents over without", ours/f.value(turns[withoutAgents]), "ratio", "<=1")
		add("calm, "+f.name+" with agents over the best peer's", ours/best(f.value), "ratio", "<=0.95")
		for i, p := range phases {
			if len(r.trouble) == 0 {
				break
			}
			of := func(name string) float64 { return f.value(r.trouble[name][i]) }
			add(p.name+", "+f.name+" over the best peer's", of(withAgents)/min(of(haproxy), of(nginx)), "ratio", "<=1.05")
		}
	}
	for _, name := range contenders {
		for i, s := range r.trouble[name] {
			add(phases[i].name+", "+name+", mean", 1e3*s.Mean, "ms", "")
			add(phases[i].name+", "+name+", p95", 1e3*s.P95, "ms", "")
			add(phases[i].name+", "+name+", failed", float64(s.Failed), "requests", "")
			foreign += s.Foreign
		}
	}
	add("answers that were another request's", float64(foreign), "answers", "<=0")
	if r.agentShare > 0 {
		add("an agent's own CPU", 100*r.agentShare, "% of a core", "<=0.25")
	}
	if err := figures.Write(r.cfg.out, all); err != nil {
		return err
	}
	r.print(all)
	if r.cfg.smoke && (foreign > 0 || failed > 0) {
		return fmt.Errorf("%d answers were wrong and %d requests failed: see %s", foreign, failed, r.cfg.runs)
	}
	return nil
}

// print shows the figures that have goals.
func (r *results) print(all []figures.Figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range all {
		if f.Goal == "" {
			continue
		}
		met := "met"
		if !f.Met() {
			met = "not met"
		}
		fmt.Fprintf(w, "%s\t%.3f %s\tgoal %s\t%s\n", f.Name, f.Value, f.Unit, f.Goal, met)
	}
	_ = w.Flush() // to the terminal
}
