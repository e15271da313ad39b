//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/chaos/history"
)

// mostTries is how often a request that may be repeated can reach servers: a flight tries
// three times, and the client's own library once more if its connection breaks.
const mostTries = 6

// told is how many violations of a rule are told in full.
const told = 20

// verdict counts what went against the rules, and tells the first few of each kind.
type verdict struct {
	ways     map[string]*count
	broken   map[string]int // violations by rule
	first    map[string][]string
	requests int
	matched  int // good answers, each of which was its own request's
	excused  int
	moves    int // after which it was looked whether requests followed
	apart    int // times at which it was looked whether a server worked on for the other edge
	events   map[history.Kind]int
}

// count is of the requests of one way.
type count struct{ sent, answered, failed int }

const (
	ruleOwn      = "answers that belong to another request"
	ruleOnce     = "requests that reached servers more often than the rules allow"
	ruleDone     = "requests answered that no server has done"
	ruleNoErrors = "errors that clients saw without a cause"
	ruleApart    = "servers out of reach of one edge that others left too"
	ruleMoved    = "servers that moved and that requests did not follow"
	ruleRest     = "what is not at rest in the end"
	ruleGrowth   = "growth of goroutines, descriptors or memory"
	ruleAlive    = "processes that ended by themselves"
)

var rules = append([]string{ruleOwn, ruleOnce, ruleDone, ruleNoErrors, ruleApart, ruleMoved, ruleRest, ruleGrowth, ruleAlive}, history.Rules...)

func newVerdict() *verdict {
	return &verdict{ways: make(map[string]*count), broken: make(map[string]int), first: make(map[string][]string), events: make(map[history.Kind]int)}
}

func (v *verdict) against(rule, format string, args ...any) {
	if v.broken[rule]++; v.broken[rule] <= told {
		v.first[rule] = append(v.first[rule], fmt.Sprintf(format, args...))
	}
}

// judge holds what clients, edges and servers wrote down against the rules and the faults.
func (v *verdict) judge(s *system, results []result, plan [][]*fault, pictures string) error {
	visits, err := s.visits()
	if err != nil {
		return err
	}
	grants, err := s.grants()
	if err != nil {
		return err
	}
	reached := make(map[string]int)
	for i := range visits {
		if visits[i].Kind == "request" {
			reached[visits[i].ID]++
		}
	}
	for i := range results {
		v.result(&results[i], reached[results[i].ID], plan)
	}
	for _, lane := range plan {
		for _, f := range lane {
			v.reachedApart(f, visits, plan)
			v.moved(f, visits, plan)
		}
	}
	events := append(grants, eventsOf(results, visits)...)
	for _, e := range events {
		v.events[e.Kind]++
	}
	for _, violation := range history.Check(events, []string{jobs}, pictures) {
		v.against(violation.Rule, "%v", violation)
	}
	return nil
}

// result judges one request.
func (v *verdict) result(r *result, reached int, plan [][]*fault) {
	c := v.ways[r.way.name]
	if c == nil {
		c = new(count)
		v.ways[r.way.name] = c
	}
	c.sent++
	v.requests++
	most := mostTries
	if r.way.once {
		most = 1
	}
	if reached > most {
		v.against(ruleOnce, "%v: it reached servers %d times", r, reached)
	}
	if r.Mixed() != nil {
		v.against(ruleOwn, "%v", r)
	}
	if r.Status == 200 && r.Err == nil {
		c.answered++
		v.matched++
		if reached == 0 {
			v.against(ruleDone, "%v", r)
		}
		return
	}
	c.failed++
	if r.isExcused(plan) {
		v.excused++
	} else {
		v.against(ruleNoErrors, "%v", r)
	}
}

const (
	excused     = 2 * time.Second // after a fault clients may still see its errors
	leaderless  = 5 * time.Second // after one of masters a pool may still have no leader that its servers know
	atLeast     = 2500 * time.Millisecond
	inUse       = 3 * time.Second
	follow      = 15 * time.Second
	recuperates = 15 * time.Second // the share of a server that was down grows gradually
)

// isExcused reports whether a request failed by what was done to the parts that it needed.
func (r *result) isExcused(plan [][]*fault) bool {
	for _, lane := range plan {
		for _, f := range lane {
			if tail, bears := f.hurts(r); bears && f.during(r.begin.Add(-tail), r.end) {
				return true
			}
		}
	}
	return false
}

// during reports whether a fault was there at some time between two.
func (f *fault) during(from, to time.Time) bool {
	return !f.begun.IsZero() && f.begun.Before(to) && (f.mended.IsZero() || f.mended.After(from))
}

// hurts reports whether a fault may make a request fail, and for how long after.
func (f *fault) hurts(r *result) (tail time.Duration, bears bool) {
	switch f.kind {
	case reloaded, mute, logless:
		return 0, false // by no means
	}
	switch f.target.role {
	case "master", "etcd":
		return leaderless, r.way.pool == jobs
	case "edge":
		switch {
		case f.target.name != r.edge:
			return 0, false
		case f.kind == noMasters:
			return leaderless, r.way.pool == jobs
		case f.kind == noServer:
			return excused, r.way.once && r.way.pool == web
		}
		return excused, true
	case "server":
		return excused, f.target.pool == r.way.pool && (r.way.once || r.way.pool == away)
	}
	return 0, false
}

// reachedApart wants a server that one edge cannot reach to have had requests by the other, if
// that has used it until then.
func (v *verdict) reachedApart(f *fault, visits []visit, plan [][]*fault) {
	if f.kind != noServer || f.begun.IsZero() || f.mended.Sub(f.begun) < atLeast || f.other.troubled(f.begun.Add(-recuperates), f.mended, plan) {
		return
	}
	others := func(from, to time.Time) (n int) {
		for i := range visits {
			if e := &visits[i]; e.Kind == "request" && e.server == f.other.name && e.Edge != f.target.name && e.Edge != "" && e.within(from, to) {
				n++
			}
		}
		return n
	}
	if others(f.begun.Add(-inUse), f.begun) < 5 {
		return
	}
	v.apart++
	if others(f.begun.Add(500*time.Millisecond), f.mended) == 0 {
		v.against(ruleApart, "%s, which %s could not reach from %s on for %v, had no request by another edge", f.other.name, f.target.name, f.begun.UTC().Format("15:04:05.000"), f.mended.Sub(f.begun).Round(time.Millisecond))
	}
}

// moved wants a server that has moved to get requests where it is.
func (v *verdict) moved(f *fault, visits []visit, plan [][]*fault) {
	until := f.mended.Add(follow)
	if f.kind != moved || f.begun.IsZero() || len(visits) == 0 || visits[len(visits)-1].At < until.UnixNano() || f.target.troubled(f.mended, until, plan) {
		return
	}
	v.moves++
	if !slices.ContainsFunc(visits, func(e visit) bool {
		return e.Kind == "request" && e.server == f.target.name && e.at == f.place && e.within(f.begun, until)
	}) {
		v.against(ruleMoved, "%s moved to %s at %s, and had no request there until %v after its old place had ended", f.target.name, f.place, f.begun.UTC().Format("15:04:05.000"), follow)
	}
}

// troubled reports whether something else was done to a server, its agent, or the way there between two times.
func (p *part) troubled(from, to time.Time, plan [][]*fault) bool {
	for _, lane := range plan {
		for _, f := range lane {
			if (f.target == p || f.target.name == "agent of "+p.name) && f.during(from.Add(time.Nanosecond), to) {
				return true
			}
		}
	}
	return false
}

// size is what a process holds at rest.
type size map[string]float64

var limits = map[string]struct {
	factor, more float64 // how much of it may be more than before
}{
	"goroutines":  {1.2, 40},
	"descriptors": {1.2, 40},
	"KB":          {1.5, 48 << 10},
}

func measure(s *system) (map[string]size, error) {
	sizes := make(map[string]size)
	for _, p := range slices.Concat(s.of("master"), s.of("edge"), s.of("agent")) {
		said, metrics := p.metrics("go_goroutines")
		open, files := p.descriptors()
		resident, memory := p.residentKB()
		if err := errors.Join(metrics, files, memory); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		sizes[p.name] = size{"goroutines": said["go_goroutines"], "descriptors": float64(open), "KB": float64(resident)}
	}
	return sizes, nil
}

func (v *verdict) compare(before, after map[string]size) {
	for name, sizes := range after {
		for what, now := range sizes {
			was, may := before[name][what], limits[what]
			if most := was*may.factor + may.more; now > most {
				v.against(ruleGrowth, "%s: %.0f %s, before %.0f", name, now, what, was)
			}
		}
	}
}
