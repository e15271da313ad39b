//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// goal is a bound on a ratio or on a figure of this run.
type goal struct {
	Name   string
	Got    float64
	Bound  float64
	AtMost bool // else at least
	Met    bool
}

func rate(s slice) float64 { return s.rate }
func p50(s slice) float64  { return s.p50 }
func p99(s slice) float64  { return s.p99 }
func p999(s slice) float64 { return s.p999 }

// judge holds the cases against what an ask may cost. A goal whose cases were not
// measured is left out.
func judge(all []*kase) []goal {
	by := make(map[string]*kase)
	for _, k := range all {
		if k.err == nil && len(k.slices) > 0 {
			by[k.name] = k
		}
	}
	var goals []goal
	add := func(name string, atMost bool, bound float64, got func() float64, needs ...string) {
		for _, n := range needs {
			if by[n] == nil {
				return
			}
		}
		g := goal{Name: name, Got: got(), Bound: bound, AtMost: atMost}
		g.Met = g.Got <= bound == atMost || g.Got == bound
		goals = append(goals, g)
	}
	ratio := func(of func(slice) float64, a, b string) func() float64 {
		return func() float64 { return by[a].median(of) / by[b].median(of) }
	}
	for _, where := range []string{"", ", one CPU", ", two CPUs"} {
		a, b := "tcp 1 waiting"+where, "tcp ping"+where
		add("one in flight against ping, p50"+where, true, 1.2, ratio(p50, a, b), a, b)
		add("one in flight against ping, p99"+where, true, 1.5, ratio(p99, a, b), a, b)
	}
	figure := func(of func(slice) float64, a string) func() float64 {
		return func() float64 { return by[a].median(of) }
	}
	add("asks/s with 1,000 waiting, tcp", false, 1e6, figure(rate, "tcp 1000 waiting"), "tcp 1000 waiting")
	add("asks/s with 64 waiting, tcp", false, 4e5, figure(rate, "tcp 64 waiting"), "tcp 64 waiting")
	add("rate against unary gRPC, 1,000 waiting", false, 20, ratio(rate, "tcp 1000 waiting", "gRPC unary, 1000 waiting"), "tcp 1000 waiting", "gRPC unary, 1000 waiting")
	add("mTLS against plain, time an ask, 1,000 waiting", true, 1.3, ratio(rate, "tcp 1000 waiting", "tls 1000 waiting"), "tcp 1000 waiting", "tls 1000 waiting")
	add("in process, ns an ask and done", true, 300, func() float64 { return 1e9 / by["in process, 1 asking"].median(rate) }, "in process, 1 asking")
	return goals
}

// show prints the table for people.
func show(to io.Writer, all []*kase, goals []goal, servers int) {
	fmt.Fprintf(to, "Every ask is followed by its done; %d servers. Medians over slices, of times also the best; CPU is of both, user and system.\n\n", servers)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "case\tp50 µs\tbest\tp99\tp99.9\tasks/s\tCPU µs master\tedge\t\n")
	for _, k := range all {
		if k.err != nil {
			fmt.Fprintf(w, "%s\tfailed: %v\t\n", k.name, k.err)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.0f\t%.2f\t%.2f\t\n", k.name, k.median(p50), k.best(p50), k.median(p99), k.median(p999), k.median(rate),
			k.median(func(s slice) float64 { return s.master }), k.median(func(s slice) float64 { return s.edge }))
	}
	_ = w.Flush()
	tell(to, goals)
}

func tell(to io.Writer, goals []goal) {
	fmt.Fprintln(to)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, g := range goals {
		sign, met := "≥", "missed"
		if g.AtMost {
			sign = "≤"
		}
		if g.Met {
			met = "met"
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s %.4g\t%s\n", g.Name, g.Got, sign, g.Bound, met)
	}
	_ = w.Flush()
}

// write writes the results for programs; an empty name: nowhere.
func write(name string, all []*kase, goals []goal) error {
	list := goalFigures(goals)
	for _, k := range all {
		if k.err != nil {
			continue // the table tells of it
		}
		list = append(list,
			figures.Figure{Name: k.name + ", p50", Value: k.median(p50), Unit: "us"},
			figures.Figure{Name: k.name + ", p99", Value: k.median(p99), Unit: "us"},
			figures.Figure{Name: k.name + ", p99.9", Value: k.median(p999), Unit: "us"},
			figures.Figure{Name: k.name + ", rate", Value: k.median(rate), Unit: "asks/s"},
			figures.Figure{Name: k.name + ", CPU master", Value: k.median(func(s slice) float64 { return s.master }), Unit: "us"},
			figures.Figure{Name: k.name + ", CPU edge", Value: k.median(func(s slice) float64 { return s.edge }), Unit: "us"})
	}
	return save(name, list)
}

// goalFigures lists what was reached beside what was wanted.
func goalFigures(goals []goal) (list []figures.Figure) {
	for _, g := range goals {
		sign := ">="
		if g.AtMost {
			sign = "<="
		}
		list = append(list, figures.Figure{Name: g.Name, Value: g.Got, Unit: g.unit(), Goal: fmt.Sprintf("%s%.10g", sign, g.Bound)})
	}
	return list
}

// save writes figures, all but those that are not numbers because their case failed.
func save(name string, list []figures.Figure) error {
	if name == "" {
		return nil
	}
	return figures.Write(name, slices.DeleteFunc(list, func(f figures.Figure) bool { return math.IsNaN(f.Value) || math.IsInf(f.Value, 0) }))
}

// unit is what a goal counts: nearly all compare, the others' names begin with it or have it.
func (g goal) unit() string {
	switch {
	case strings.HasPrefix(g.Name, "asks/s"):
		return "asks/s"
	case strings.Contains(g.Name, ", ms"):
		return "ms"
	case strings.Contains(g.Name, ", ns "):
		return "ns"
	case strings.Contains(g.Name, "µs"):
		return "us"
	case strings.Contains(g.Name, "MiB"):
		return "MiB"
	case strings.Contains(g.Name, "bytes"):
		return "bytes"
	}
	return "ratio"
}
