//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/bench/chaos/history"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// matchedAnswers is the figure that several runs add up.
const matchedAnswers = "answers, each matched with its request"

// report prints and writes what was found out; its error says that rules are broken.
func (v *verdict) report(c settings, s *system, plan [][]*fault) error {
	all := []figures.Figure{{Name: "seed", Value: float64(c.seed)}, {Name: "length", Value: c.duration.Seconds(), Unit: "s"},
		{Name: "requests", Value: float64(v.requests)}, {Name: matchedAnswers, Value: float64(v.matched)},
		{Name: "errors while a part that was needed was away", Value: float64(v.excused)}}
	for i := range ways {
		name := ways[i].name
		if n := v.ways[name]; n != nil {
			all = append(all, figures.Figure{Name: "requests, " + name, Value: float64(n.sent)}, figures.Figure{Name: "of these failed", Value: float64(n.failed)})
		}
	}
	all = append(all, faultFigures(plan)...)
	for kind := history.Sent; kind <= history.Answered; kind++ {
		all = append(all, figures.Figure{Name: "history, " + kind.String(), Value: float64(v.events[kind])})
	}
	all = append(all, figures.Figure{Name: "times that a server was out of reach of one edge for long enough to tell", Value: float64(v.apart)},
		figures.Figure{Name: "moves of a server with enough time to follow", Value: float64(v.moves)})
	bad := 0
	for _, rule := range rules {
		all = append(all, figures.Figure{Name: rule, Value: float64(v.broken[rule]), Goal: "<=0"})
		if v.broken[rule] > 0 {
			bad++
		}
	}
	v.print(all)
	if err := figures.Write(c.out, all); err != nil {
		return err
	}
	if bad == 0 {
		return nil
	}
	for _, p := range append(s.of("master"), s.of("edge")...) {
		fmt.Printf("--- log of %s\n%s", p.name, p.log)
	}
	v.printBroken()
	return fmt.Errorf("%d rules broken; to run the same again: make chaos SEED=%d DURATION=%v", bad, c.seed, c.duration)
}

func faultFigures(plan [][]*fault) (all []figures.Figure) {
	counts, n := make(map[string]int), 0
	for _, lane := range plan {
		for _, f := range lane {
			counts[f.target.role+": "+f.kind]++
			n++
		}
	}
	all = append(all, figures.Figure{Name: "faults", Value: float64(n)})
	for _, k := range kinds {
		for _, role := range k.roles {
			if n := counts[role+": "+k.name]; n > 0 {
				all = append(all, figures.Figure{Name: "faults, " + role + ": " + k.name, Value: float64(n)})
			}
		}
	}
	return all
}

func (v *verdict) print(all []figures.Figure) {
	for i := 0; i < len(all); i++ {
		f := all[i]
		if i+1 < len(all) && all[i+1].Name == "of these failed" {
			fmt.Printf("%-74s %8.0f, failed %.0f\n", f.Name, f.Value, all[i+1].Value)
			i++
			continue
		}
		mark := ""
		if !f.Met() {
			mark = "BROKEN"
		}
		fmt.Printf("%-74s %8.0f %-2s %s %s\n", f.Name, f.Value, f.Unit, f.Goal, mark)
	}
}

func (v *verdict) printBroken() {
	for _, rule := range rules {
		if v.broken[rule] > 0 {
			fmt.Printf("BROKEN: %s: %d; the first:\n  %s\n", rule, v.broken[rule], strings.Join(v.first[rule], "\n  "))
		}
	}
}
