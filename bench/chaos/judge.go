//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// mostTries is how often a request that may be repeated can reach servers: a flight tries
// three times, and the client's own library once more if its connection breaks.
const mostTries = 6

// told is how many violations of a rule are told in full.
const told = 20

// excused is how long after a fault clients may still see its errors.
const excused = 2 * time.Second

// verdict counts what went against the rules, and tells the first few of each kind.
type verdict struct {
	requests, failed int
	broken           map[string]int // violations by rule
	first            map[string][]string
}

const (
	ruleOnce     = "requests that reached servers more often than the rules allow"
	ruleDone     = "requests answered that no server has done"
	ruleNoErrors = "errors that clients saw without a cause"
	ruleRest     = "what is not at rest in the end"
	ruleGrowth   = "growth of goroutines, descriptors or memory"
	ruleAlive    = "processes that ended by themselves"
)

var rules = []string{ruleOnce, ruleDone, ruleNoErrors, ruleRest, ruleGrowth, ruleAlive}

func newVerdict() *verdict {
	return &verdict{broken: make(map[string]int), first: make(map[string][]string)}
}

func (v *verdict) against(rule, format string, args ...any) {
	if v.broken[rule]++; v.broken[rule] <= told {
		v.first[rule] = append(v.first[rule], fmt.Sprintf(format, args...))
	}
}

// judge holds what clients saw against the servers' records and the faults.
func (v *verdict) judge(s *system, results []result, plan [][]*fault) error {
	reached := make(map[string]int)
	for i := range servers {
		if err := read(s.record(i), reached); err != nil {
			return err
		}
	}
	for i := range results {
		r := &results[i]
		v.requests++
		most := mostTries
		if r.method == http.MethodPost {
			most = 1
		}
		if n := reached[r.id]; n > most {
			v.against(ruleOnce, "%s %s reached servers %d times", r.method, r.id, n)
		}
		switch {
		case r.status == http.StatusOK && r.err == nil:
			if reached[r.id] == 0 {
				v.against(ruleDone, "%s %s through %s", r.method, r.id, r.edge)
			}
		default:
			v.failed++
			if !isExcused(r, plan) {
				v.against(ruleNoErrors, "%s %s through %s at %s, after %v: %v", r.method, r.id, r.edge, r.begin.Format("15:04:05.000"), r.end.Sub(r.begin).Round(time.Millisecond), r.err)
			}
		}
	}
	return nil
}

// isExcused tells whether a request failed by what was done to its edge or, if it may not
// be repeated, to a server.
func isExcused(r *result, plan [][]*fault) bool {
	for _, lane := range plan {
		for _, f := range lane {
			bears := f.target.role == "edge" && f.target.name == r.edge || f.target.role == "server" && r.method == http.MethodPost
			if bears && f.kind != "reload" && !f.begun.IsZero() && r.end.After(f.begun) && r.begin.Before(f.mended.Add(excused)) {
				return true
			}
		}
	}
	return false
}

func read(record string, reached map[string]int) error {
	in, err := os.Open(record)
	if err != nil {
		return err
	}
	defer in.Close()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		id, _, _ := strings.Cut(lines.Text(), " ")
		reached[id]++
	}
	return nil
}

// size is what a process holds at rest.
type size map[string]float64

var families = map[string]struct {
	factor, more float64 // how much of it may be more than before
}{
	"go_goroutines":                 {1.2, 40},
	"process_open_fds":              {1.2, 40},
	"process_resident_memory_bytes": {1.5, 48 << 20},
}

func measure(s *system) (map[string]size, error) {
	sizes := make(map[string]size)
	for _, p := range append(s.of("master"), s.of("edge")...) {
		var names []string
		for name := range families {
			names = append(names, name)
		}
		got, err := p.metrics(names...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		sizes[p.name] = got
	}
	return sizes, nil
}

func (v *verdict) compare(before, after map[string]size) {
	for name, sizes := range after {
		for family, now := range sizes {
			was, may := before[name][family], families[family]
			if most := was*may.factor + may.more; now > most {
				v.against(ruleGrowth, "%s: %s is %.0f, was %.0f", name, family, now, was)
			}
		}
	}
}
