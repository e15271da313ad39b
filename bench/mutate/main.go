// Command mutate measures which changes a room's tests detect. It makes a small change to the room's code, in one place at a time, runs the
// tests, and counts the changes that make a test fail. A change that makes no test fail is a survivor: a rule that no test checks. The
// kinds of changes are:
//
//	negated condition   if err != nil      →  if err == nil
//	boundary            n < limit          →  n <= limit
//	dropped half        known && allowed   →  known
//	dropped statement   defer mu.Unlock()  →  nothing
//	dropped error       return check(x)    →  return nil, where a function ends, which cannot go without a return
//
// All changes are compiled into one test binary (schema.go), so that the tree stays as it is, and an environment variable turns one of
// them on. Each test is first run by itself without a change, to learn which changes it reaches. Then a seeded sample of changes is tried, each
// with those tests alone. Processes that tests start by a binary built before are not changed. A survivor that behaves like the original
// goes into the list of equivalents (equivalents.txt); all others need a test. The program exits with status 1 when the share of killed mutants
// misses its goal, or when the list has entries that match no mutant any more.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

type settings struct {
	room        string
	extra       []string
	seeds       []uint64
	samples     int
	parallel    int
	timeout     time.Duration
	budget      time.Duration
	goal        float64
	equivalents string
	out         string
	only        string
	verbose     bool
}

func main() {
	var s settings
	flag.StringVar(&s.room, "room", "", "package to change, such as internal/trust")
	with := flag.String("with", "", "packages whose tests are run too, behind the room's own, separated by spaces")
	seeds := flag.String("seed", "1", "of the sample; 1,2: two samples")
	flag.IntVar(&s.samples, "samples", 60, "mutants to try for each seed; 0: all")
	flag.IntVar(&s.parallel, "parallel", 1, "mutants to try at a time")
	flag.DurationVar(&s.timeout, "timeout", 20*time.Second, "for a run of tests, on top of five times as long as they take without a mutant; a mutant by which they take longer is killed")
	flag.DurationVar(&s.budget, "budget", 0, "for each mutant run only the quickest tests that take this long together; 0: all")
	flag.Float64Var(&s.goal, "goal", .75, "share of mutants that must be killed")
	flag.StringVar(&s.equivalents, "equivalents", "bench/mutate/equivalents.txt", "list of mutants that behave as the original does")
	flag.StringVar(&s.out, "out", "", "file for the figures (build/bench/mutate-ROOM.json)")
	flag.StringVar(&s.only, "only", "", "try only mutants in whose printed line this stands, such as a survivor whose test has been written; no figures are written")
	flag.BoolVar(&s.verbose, "v", false, "print every mutant as it is judged")
	flag.Parse()
	s.extra = strings.Fields(*with)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	good, err := false, error(nil)
	if flag.NArg() > 0 {
		err = fmt.Errorf("%q: flags alone are wanted", flag.Args())
	} else if s.seeds, err = readSeeds(*seeds); err == nil {
		good, err = s.run(ctx, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
	if !good {
		os.Exit(1)
	}
}

func readSeeds(text string) ([]uint64, error) {
	var seeds []uint64
	for field := range strings.SplitSeq(text, ",") {
		seed, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("-seed %s: want a number, or several with commas between", text)
		}
		seeds = append(seeds, seed)
	}
	return seeds, nil
}

func (s *settings) run(ctx context.Context, w io.Writer) (good bool, err error) {
	if s.room == "" || s.samples < 0 || s.parallel < 1 {
		return false, fmt.Errorf("want -room PACKAGE, such as make mutate ROOM=internal/trust, at least 0 samples and 1 at a time")
	}
	text, err := os.ReadFile(s.equivalents)
	if err != nil {
		return false, fmt.Errorf("equivalents: %w", err)
	}
	accepted, err := readEquivalents(s.equivalents, string(text))
	if err != nil {
		return false, err
	}
	r, err := openRoom(s.room)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	j, err := s.prepare(ctx, r, dir, w)
	if err != nil {
		return false, err
	}
	good = true
	var made []figures.Figure
	for _, seed := range s.seeds {
		// One that is accepted changes nothing of the others' order.
		rest, equivalents, stale := split(shuffled(r.mutants, seed), accepted, r.path())
		sample, err := s.sample(rest)
		if err != nil {
			return false, fmt.Errorf("%s: %w", r.path(), err)
		}
		if err := j.judge(ctx, sample); err != nil {
			return false, err
		}
		result := result{room: r.path(), seed: seed, all: len(r.mutants), equivalents: equivalents, stale: stale}
		for i := range sample {
			result.add(&sample[i], j.verdicts[sample[i].number])
		}
		result.print(w, s.equivalents)
		made = append(made, result.figures(s.goal)...)
		good = good && len(stale) == 0
	}
	good = good && !slices.ContainsFunc(made, func(f figures.Figure) bool { return !f.Met() })
	if s.only != "" {
		return good, nil
	}
	out := s.out
	if out == "" {
		out = filepath.Join("build", "bench", "mutate-"+strings.ReplaceAll(r.path(), "/", "-")+".json")
	}
	return good, figures.Write(out, made)
}

// prepare compiles the tests of a room and of the other packages, and measures them.
func (s *settings) prepare(ctx context.Context, r *room, dir string, w io.Writer) (*jury, error) {
	suites, err := r.compile(ctx, dir, append([]string{r.ImportPath}, s.extra...))
	if err != nil {
		return nil, err
	}
	for _, suite := range suites {
		if err := suite.measure(ctx, s.parallel); err != nil {
			return nil, err
		}
		if len(suite.tests) == 0 && len(suite.broken) > 0 {
			return nil, fmt.Errorf("no test of %s passes without a mutant:\n%s", suite.pkg, suite.broken[0])
		}
		for _, failure := range suite.broken {
			fmt.Fprintf(w, "left out: %s\n", failure)
		}
	}
	return &jury{settings: s, suites: suites, verdicts: make(map[int]verdict)}, nil
}

// shuffled puts mutants into the order of a seed.
func shuffled(all []mutant, seed uint64) []mutant {
	all = slices.Clone(all)
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// sample returns the mutants that are tried.
func (s *settings) sample(all []mutant) ([]mutant, error) {
	if s.only != "" {
		all = slices.DeleteFunc(all, func(m mutant) bool { return !strings.Contains(m.String(), s.only) })
		if len(all) == 0 {
			return nil, fmt.Errorf("no mutant has %q in its line: it stands there as a survivor is printed", s.only)
		}
	}
	if s.samples > 0 {
		all = all[:min(s.samples, len(all))]
	}
	return all, nil
}

// jury judges mutants.
type jury struct {
	*settings
	suites []*suite

	mu       sync.Mutex
	verdicts map[int]verdict // by the number of the mutant
}

// judge judges those of the mutants that have not been judged yet.
func (j *jury) judge(ctx context.Context, all []mutant) error {
	all = slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { _, known := j.verdicts[m.number]; return known })
	return each(ctx, j.parallel, len(all), func(i int) error {
		m := &all[i]
		v, err := judge(ctx, reaching(j.suites, m.number, j.budget), m.number, j.timeout)
		if err != nil {
			return err
		}
		if j.verbose {
			fmt.Fprintf(os.Stderr, "%s: %s\n", m, v)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.verdicts[m.number] = v
		return nil
	})
}

// each calls do with 0 to n-1, several at a time. The first error ends it.
func each(ctx context.Context, parallel, n int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var wait sync.WaitGroup
	for range parallel {
		wait.Go(func() {
			for i := range numbers {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	wait.Wait()
	return context.Cause(ctx)
}
