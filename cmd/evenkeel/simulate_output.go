package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// printComparison writes one scenario's table.
func printComparison(out io.Writer, c *sim.Comparison) {
	s := &c.Scenario
	fmt.Fprintf(out, "%s: %s\n", s.Name, s.About)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, cell := range cells {
			fmt.Fprintf(w, "%v\t", cell)
		}
		fmt.Fprintln(w)
	}
	head := []any{"", "mean", "p50", "p95", "p99", "p99.9", "p99/ideal", "mean/ideal", "errors", "refused", "used"}
	if s.Deadline > 0 {
		head = append(head, "goodput")
		for _, t := range s.Tenants {
			head = append(head, t.Name+" in time")
		}
	}
	row(head...)
	for i := range c.Results {
		r := &c.Results[i]
		cells := []any{r.Policy, seconds(r.Mean), seconds(r.P50), seconds(r.P95), seconds(r.P99), seconds(r.P999),
			ratio(r.P99Ideal), ratio(r.MeanIdeal), share(r.Errors), share(r.Refused), share(r.Utilization)}
		if s.Deadline > 0 {
			cells = append(cells, share(r.Goodput))
			for i := range s.Tenants {
				cells = append(cells, share(r.InTime[i]))
			}
		}
		row(cells...)
	}
	_ = w.Flush()
	terminal.PrintLine(out, "")
}

// goals puts each goal beside what the first policy reached.
func goals(comparisons []sim.Comparison) (rows []figures.Figure) {
	for _, c := range comparisons {
		for _, g := range c.Scenario.Goals {
			rows = append(rows, measured(&c, g, 0))
		}
	}
	return rows
}

// worst puts together the worst ratios to the best peer, over the scenarios in which less comes than the servers can do and all can
// be compared.
func worst(comparisons []sim.Comparison) (rows []figures.Figure) {
	for _, f := range []struct {
		name, figure string
		atMost       float64
	}{{"mean", "mean/peer", 1.15}, {"p99", "p99/peer", 1.15}, {"p999", "p999/peer", 1.25}} {
		most := math.NaN()
		for i := range comparisons {
			c := &comparisons[i]
			if v := c.Results[0].Figure(f.figure); c.Scenario.HasIdeal() && len(c.Scenario.Faults) == 0 && !(v <= most) && !math.IsNaN(v) {
				most = v
			}
		}
		if !math.IsNaN(most) {
			rows = append(rows, figures.Figure{Name: "worst ratio to best peer, " + f.name, Value: math.Round(most*1e4) / 1e4, Unit: "ratio", Goal: fmt.Sprintf("<=%v", f.atMost)})
		}
	}
	return rows
}

// peers has what the other policies reached where the first has a goal.
func peers(comparisons []sim.Comparison) (rows []figures.Figure) {
	for _, c := range comparisons {
		for _, g := range c.Scenario.Goals {
			for i := range c.Results[1:] {
				if f := measured(&c, g, i+1); !math.IsNaN(f.Value) && !math.IsInf(f.Value, 0) {
					rows = append(rows, f)
				}
			}
		}
	}
	return rows
}

func measured(c *sim.Comparison, g sim.Goal, result int) figures.Figure {
	r := &c.Results[result]
	f := figures.Figure{Name: c.Scenario.Name + " " + g.Figure, Value: math.Round(r.Figure(g.Figure)*1e4) / 1e4, Unit: "ratio"}
	if g.Figure == "p99" {
		f.Unit = "s"
	}
	if result == 0 {
		f.Goal = g.String()
	} else {
		f.Name += " " + r.Policy
	}
	return f
}

func printGoals(out io.Writer, comparisons []sim.Comparison) {
	rows := append(goals(comparisons), worst(comparisons)...)
	if len(rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "goal of %s\twanted\tmeasured\t\n", comparisons[0].Results[0].Policy)
	for _, r := range rows {
		word := "met"
		if !r.Met() {
			word = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%.4g\t%s\n", r.Name, r.Goal, r.Value, word)
	}
	_ = w.Flush()
}

// resultRow is a sim.Result as JSON, which has no word for what is not a number.
type resultRow struct {
	Policy      string     `json:"policy"`
	Requests    int        `json:"requests"`
	Mean        *float64   `json:"mean_s"`
	P50         *float64   `json:"p50_s"`
	P95         *float64   `json:"p95_s"`
	P99         *float64   `json:"p99_s"`
	P999        *float64   `json:"p999_s"`
	P99Ideal    *float64   `json:"p99_ideal"`
	MeanIdeal   *float64   `json:"mean_ideal"`
	Errors      *float64   `json:"errors"`
	Refused     *float64   `json:"refused"`
	Utilization *float64   `json:"utilization"`
	TroubleP99  *float64   `json:"trouble_p99_s"`
	CalmP99     *float64   `json:"calm_p99_s"`
	Goodput     *float64   `json:"goodput"`
	InTime      []*float64 `json:"in_time"`
}

func printJSON(out io.Writer, comparisons []sim.Comparison) error {
	type scenarioRow struct {
		Scenario string      `json:"scenario"`
		About    string      `json:"about"`
		Results  []resultRow `json:"results"`
	}
	rows := []scenarioRow{}
	for _, c := range comparisons {
		row := scenarioRow{Scenario: c.Scenario.Name, About: c.Scenario.About}
		for _, r := range c.Results {
			row.Results = append(row.Results, resultRow{Policy: r.Policy, Requests: r.Requests, Mean: number(r.Mean), P50: number(r.P50), P95: number(r.P95),
				P99: number(r.P99), P999: number(r.P999), P99Ideal: number(r.P99Ideal), MeanIdeal: number(r.MeanIdeal), Errors: number(r.Errors), Refused: number(r.Refused),
				Utilization: number(r.Utilization), TroubleP99: number(r.TroubleP99), CalmP99: number(r.CalmP99), Goodput: number(r.Goodput), InTime: numbers(r.InTime)})
		}
		rows = append(rows, row)
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}

func numbers(values []float64) (all []*float64) {
	for _, v := range values {
		all = append(all, number(v))
	}
	return all
}

// number is nil for what is not a number.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// seconds shows a time with four digits at most.
func seconds(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	d := time.Duration(v * float64(time.Second))
	for _, step := range []time.Duration{time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		if d < 10_000*step {
			return d.Round(step).String()
		}
	}
	return d.Round(time.Second).String()
}

func ratio(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.3f", v)
}

func share(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.2f%%", 100*v)
}
