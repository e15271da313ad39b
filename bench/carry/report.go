//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// ratio is the median over the rounds of what p shows to what the load's base does.
func (b *bench) ratio(p *proxy, l load, of func(turn) float64) float64 {
	return median(ratios(p, b.named(l.base), l, of))
}

func (b *bench) named(name string) *proxy {
	for _, p := range b.proxies {
		if p.name == name {
			return p
		}
	}
	return nil
}

// ratios are those of each round.
func ratios(p, against *proxy, l load, of func(turn) float64) (all []float64) {
	for i, t := range p.turns[l.name] {
		all = append(all, of(t)/of(against.turns[l.name][i]))
	}
	return all
}

func median(all []float64) float64 { return quantile(all, 2, 4) }

// quantile returns the value below which n of d parts of all lie.
func quantile(all []float64, n, d int) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[min(n*len(all)/d, len(all)-1)]
}

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "proxy\trequest\tCPU µs\tof haproxy\trequests/s\tof haproxy\tp50 µs\tp99 µs\tcores busy")
	for _, l := range loads {
		for _, p := range b.proxies {
			if len(p.turns[l.name]) == 0 {
				continue
			}
			mid := func(of func(turn) float64) float64 {
				var all []float64
				for _, t := range p.turns[l.name] {
					all = append(all, of(t))
				}
				return median(all)
			}
			fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\n", p.name, l.name, mid(turn.ofCPU), b.ratio(p, l, turn.ofCPU),
				mid(turn.ofRate), b.ratio(p, l, turn.ofRate), mid(turn.ofP50), mid(turn.ofP99), mid(func(t turn) float64 { return t.cores }))
		}
	}
	must(w.Flush())
	b.printAgainst()
}

// printAgainst holds the binary against the second one, round by round.
func (b *bench) printAgainst() {
	ours, theirs := b.named("run"), b.named(other)
	if ours == nil || theirs == nil {
		return
	}
	for _, l := range loads {
		if all := ratios(ours, theirs, l, turn.ofCPU); len(all) > 0 {
			fmt.Printf("%s: the CPU of run is %.3f of the other binary's (half of the rounds between %.3f and %.3f, all between %.3f and %.3f)\n",
				l.name, median(all), quantile(all, 1, 4), quantile(all, 3, 4), slices.Min(all), slices.Max(all))
		}
	}
}

func (t turn) ofCPU() float64  { return t.cpu }
func (t turn) ofRate() float64 { return t.rate }
func (t turn) ofP50() float64  { return t.p50 }
func (t turn) ofP99() float64  { return t.p99 }

func (b *bench) figures() (all []figures.Figure) {
	for _, p := range b.proxies[1:] {
		for _, l := range loads {
			if len(p.turns[l.name]) == 0 {
				continue
			}
			f := figures.Figure{Name: p.name + ", " + l.name + ", CPU", Value: b.ratio(p, l, turn.ofCPU), Unit: "ratio"}
			switch {
			case p.name == "run":
				f.Goal = l.goal
			case p.name == "edge and master" && l.name == "small":
				f.Goal = "<=.95"
			}
			all = append(all, f)
			switch p.name {
			case "run":
				all = append(append(all, b.beside(p, l)...), b.against(p, l)...)
			case relaying:
				all = append(all, figures.Figure{Name: p.name + ", " + l.name + ", requests a second", Value: b.ratio(p, l, turn.ofRate), Unit: "ratio"})
			}
		}
	}
	return all
}

// against are the figures of a load beside the second binary, if there is one. A row is
// slower than before when three rounds of four say so by more than two in a hundred.
func (b *bench) against(p *proxy, l load) []figures.Figure {
	theirs := b.named(other)
	if theirs == nil || len(theirs.turns[l.name]) == 0 {
		return nil
	}
	all := ratios(p, theirs, l, turn.ofCPU)
	return []figures.Figure{
		{Name: "run, " + l.name + ", CPU of the other binary's", Value: median(all), Unit: "ratio"},
		{Name: "run, " + l.name + ", CPU of the other binary's, lower quartile", Value: quantile(all, 1, 4), Unit: "ratio", Goal: "<=1.02"},
	}
}

// beside are the figures of a load that are no CPU time.
func (b *bench) beside(p *proxy, l load) (all []figures.Figure) {
	if l.two {
		for _, q := range []*proxy{b.proxies[0], p} {
			var each []float64
			for _, t := range q.turns[l.name] {
				each = append(each, 1e6/t.cpu)
			}
			all = append(all, figures.Figure{Name: q.name + ", " + l.name + ", requests a CPU-second", Value: median(each), Unit: "1/s"})
		}
		return all
	}
	switch l.name {
	case "small":
		return []figures.Figure{
			{Name: "run, small, requests a second", Value: b.ratio(p, l, turn.ofRate), Unit: "ratio", Goal: ">=1.35"},
			{Name: "run, small, p99", Value: b.ratio(p, l, turn.ofP99), Unit: "ratio", Goal: "<=.8"},
		}
	case one:
		return []figures.Figure{{Name: "run, one connection, p50", Value: b.ratio(p, l, turn.ofP50), Unit: "ratio", Goal: "<=1"}}
	}
	return nil
}
