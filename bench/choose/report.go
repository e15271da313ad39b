//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is the medians of one system's runs of one scenario.
type row struct {
	scenario string
	system   string
	goal     float64 // zero: none, as for peers
	ratios   []float64
	of       run // each figure the median of the runs'
	errors   float64
	noisy    int
}

func (c *config) report(runs []run) error {
	rows := summarise(runs)
	if len(rows) == 0 {
		return errors.New("no run has succeeded")
	}
	text := c.table(rows) + "\n" + words(rows)
	fmt.Print("\n", text)
	for _, f := range []struct{ name, text string }{{c.goals, goals(rows)}, {c.plot, picture(rows)}} {
		if err := os.MkdirAll(filepath.Dir(f.name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.name, []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	if c.docs == "" {
		return nil
	}
	return replaceSection(c.docs, c.heading()+"\n"+text)
}

func summarise(runs []run) (rows []row) {
	for _, sc := range scenarios {
		for _, sy := range systems {
			var some []run
			for _, r := range runs {
				if r.Scenario == sc.id && r.System == sy.name {
					some = append(some, r)
				}
			}
			if len(some) == 0 {
				continue
			}
			r := newRow(some)
			if sy.name == ours {
				r.goal = sc.goal
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func newRow(runs []run) row {
	r := row{scenario: runs[0].Scenario, system: runs[0].System}
	each := func(of func(*run) float64) float64 {
		var v []float64
		for i := range runs {
			v = append(v, of(&runs[i]))
		}
		return median(v)
	}
	requests := 0
	for i := range runs {
		r.ratios = append(r.ratios, runs[i].Ratio)
		r.errors += float64(runs[i].Errors)
		requests += runs[i].Requests
		if runs[i].Noisy {
			r.noisy++
		}
	}
	r.errors /= float64(max(1, requests))
	r.of = run{P50: each(func(r *run) float64 { return r.P50 }), P99: each(func(r *run) float64 { return r.P99 }),
		IdealP50: each(func(r *run) float64 { return r.IdealP50 }), IdealP99: each(func(r *run) float64 { return r.IdealP99 }),
		Ratio: median(r.ratios), Simulated: each(func(r *run) float64 { return r.Simulated }),
		Late: each(func(r *run) float64 { return r.Late }), Busy: each(func(r *run) float64 { return r.Busy }), Choosers: each(func(r *run) float64 { return r.Choosers })}
	return r
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

func (c *config) table(rows []row) string {
	var b strings.Builder
	b.WriteString("| scenario | who chooses | p50 | p99 | p99/ideal | lowest–highest | simulated | errors | machine busy | choosers' CPU | sent late (p99) |\n" +
		"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	last := ""
	for _, r := range rows {
		if r.scenario != last {
			fmt.Fprintf(&b, "| %s | ideal | %.1f ms | %.0f ms | 1 | | | | | | |\n", r.scenario, 1e3*r.of.IdealP50, 1e3*r.of.IdealP99)
			last = r.scenario
		}
		noisy := ""
		if r.noisy > 0 {
			noisy = fmt.Sprintf(" (%d of %d runs noisy)", r.noisy, len(r.ratios))
		}
		ratio := fmt.Sprintf("%.3f", r.of.Ratio)
		if r.system == ours {
			ratio = "**" + ratio + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %.1f ms | %.0f ms | %s | %.3f–%.3f | %.3f | %.3g %% | %.0f %% | %.2f | %.2f ms%s |\n", r.scenario, r.system, 1e3*r.of.P50, 1e3*r.of.P99,
			ratio, slices.Min(r.ratios), slices.Max(r.ratios), r.of.Simulated, 100*r.errors, 100*r.of.Busy, r.of.Choosers, 1e3*r.of.Late, noisy)
	}
	return b.String()
}

// words say of each scenario whether ours met its goal, who was better, and what it cost.
func words(rows []row) string {
	var b strings.Builder
	for _, own := range rows {
		if own.system != ours {
			continue
		}
		verdict := "met"
		if own.of.Ratio > own.goal {
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "- %s: the goal of at most %.2f is %s with %.3f", own.scenario, own.goal, verdict, own.of.Ratio)
		var better []string
		cheapest := own
		for _, r := range rows {
			if r.scenario != own.scenario || r.system == ours {
				continue
			}
			if r.of.Ratio < own.of.Ratio {
				better = append(better, fmt.Sprintf("%s (%.3f)", r.system, r.of.Ratio))
			}
			if r.of.Choosers < cheapest.of.Choosers {
				cheapest = r
			}
		}
		if len(better) > 0 {
			fmt.Fprintf(&b, "; **we lose** to %s", strings.Join(better, ", "))
		}
		if cheapest.system != ours {
			fmt.Fprintf(&b, "; edges and master took %.1f times the processor time of %s", own.of.Choosers/max(cheapest.of.Choosers, 1e-3), cheapest.system)
		}
		b.WriteString(".\n")
	}
	return b.String()
}

func goals(rows []row) string {
	type entry struct {
		Name  string  `json:"name"`
		Value float64 `json:"value"`
		Unit  string  `json:"unit"`
		Goal  string  `json:"goal"`
	}
	var all []entry
	for _, r := range rows {
		e := entry{Name: r.scenario + " real " + r.system + " p99/ideal", Value: math.Round(r.of.Ratio*1000) / 1000, Unit: "ratio"}
		if r.goal > 0 {
			e.Goal = fmt.Sprintf("<=%.2f", r.goal)
		}
		all = append(all, e)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // people read the bounds
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		panic(err) // a figure is not finite, but runs without answers are not summarised
	}
	return b.String()
}

func (c *config) heading() string {
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	changed := ""
	if exec.Command("git", "diff", "--quiet", "HEAD").Run() != nil {
		changed = " with changes"
	}
	return fmt.Sprintf("%s, commit %s%s, %s.\n\n    make bench-choose    # %s\n\nMedians of %d runs of %v each, time stretched %v times.\n",
		time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(commit)), changed, machine(), strings.Join(os.Args[1:], " "), c.rounds, c.length, c.stretch)
}

const (
	sectionBegins = "<!-- bench-choose writes from here -->\n"
	sectionEnds   = "<!-- to here -->\n"
)

// replaceSection replaces the text between two marks of a file.
func replaceSection(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), sectionBegins)
	_, after, ended := strings.Cut(rest, sectionEnds)
	if !ok || !ended {
		return fmt.Errorf("%s: want the lines %q and %q, to write between them", file, strings.TrimSpace(sectionBegins), strings.TrimSpace(sectionEnds))
	}
	return os.WriteFile(file, []byte(before+sectionBegins+"\n"+text+"\n"+sectionEnds+after), 0o644)
}

// The picture has a line for each system in each scenario: a dot for every run, a bar
// at the median, and the goal. The axis is logarithmic, as ratios are.
const (
	plotLeft  = 220.
	plotWidth = 520.
	lineHigh  = 22.
	groupGap  = 40.
)

func picture(rows []row) string {
	most := 2.
	for _, r := range rows {
		most = max(most, slices.Max(r.ratios)*1.1)
	}
	x := func(ratio float64) float64 {
		return plotLeft + plotWidth*math.Log(max(ratio, .95)/.95)/math.Log(most/.95)
	}
	var b strings.Builder
	y, last := 20., ""
	for _, r := range rows {
		if r.scenario != last {
			y += groupGap
			last = r.scenario
			fmt.Fprintf(&b, `<text x="12" y="%.0f" font-weight="bold">%s</text>`+"\n", y-lineHigh+4, r.scenario)
		}
		ink := "#7f7f7f"
		if r.system == ours {
			ink = "#0072b2"
			fmt.Fprintf(&b, `<path d="M%.1f %.1fv%.1f" stroke="#009e73" stroke-dasharray="3 2"/><text x="%.1f" y="%.1f" fill="#009e73" text-anchor="middle">goal %.2f</text>`+"\n",
				x(r.goal), y-14, lineHigh*.9, x(r.goal), y-17, r.goal)
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f" text-anchor="end" fill="%s">%s</text>`, plotLeft-10, y+4, ink, html.EscapeString(r.system))
		for _, v := range r.ratios {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s" fill-opacity=".5"/>`, x(v), y, ink)
		}
		fmt.Fprintf(&b, `<path d="M%.1f %.1fv12" stroke="%s" stroke-width="3"/><text x="%.1f" y="%.1f">%.2f</text>`+"\n", x(r.of.Ratio), y-6, ink, x(slices.Max(r.ratios))+8, y+4, r.of.Ratio)
		y += lineHigh
	}
	var axis strings.Builder
	for _, v := range []float64{1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100} {
		if v > most {
			break
		}
		fmt.Fprintf(&axis, `<path d="M%.1f 36V%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="middle">%v</text>`+"\n", x(v), y, x(v), y+14, v)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n"+`<text x="12" y="22" font-weight="bold">p99 response time over the ideal's: each run, and the median</text>`+"\n%s%s</svg>\n",
		plotLeft+plotWidth+60, y+24, axis.String(), b.String())
}
