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
// A seeded sample of them is tried, each in an overlay, so that the tree stays as it is. Processes that tests start by a binary built
// before are not changed. A survivor that behaves like the original goes into the list of equivalents (equivalents.txt); all others need a
// test. The program exits with status 1 when the share of killed mutants misses its goal, or when the list has entries that match no mutant
// any more.
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
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

const goal = ">=.75"

type settings struct {
	room        string
	extra       []string
	seed        uint64
	samples     int
	parallel    int
	timeout     time.Duration
	equivalents string
	out         string
	only        string
	verbose     bool
}

func main() {
	var s settings
	flag.StringVar(&s.room, "room", "", "package to change, such as internal/trust")
	with := flag.String("with", "", "packages whose tests are run too, behind the room's own, separated by spaces")
	flag.Uint64Var(&s.seed, "seed", 1, "of the sample")
	flag.IntVar(&s.samples, "samples", 60, "mutants to try; 0: all")
	flag.IntVar(&s.parallel, "parallel", 1, "mutants to try at a time")
	flag.DurationVar(&s.timeout, "timeout", time.Minute, "for the tests of one package; a mutant by which they take longer is killed")
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
	} else {
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
	r, err := openRoom(s.room, s.extra, s.timeout)
	if err != nil {
		return false, err
	}
	all, err := r.mutants()
	if err != nil {
		return false, err
	}
	rest, equivalents, stale := split(shuffled(all, s.seed), accepted, r.path()) // one that is accepted changes nothing of the others' order
	if s.only != "" {
		rest = slices.DeleteFunc(rest, func(m mutant) bool { return !strings.Contains(m.String(), s.only) })
		if len(rest) == 0 {
			return false, fmt.Errorf("no mutant of %s has %q in its line: it stands there as a survivor is printed", r.path(), s.only)
		}
	}
	if err := r.measure(ctx); err != nil {
		return false, err
	}
	result, err := s.judge(ctx, r, rest)
	if err != nil {
		return false, err
	}
	result.room, result.seed, result.all, result.equivalents, result.stale = r.path(), s.seed, len(all), equivalents, stale
	result.print(w, s.equivalents)
	if s.only != "" {
		return len(result.survivors) == 0, nil
	}
	out := s.out
	if out == "" {
		out = filepath.Join("build", "bench", "mutate-"+strings.ReplaceAll(r.path(), "/", "-")+".json")
	}
	made := result.figures()
	if err := figures.Write(out, made); err != nil {
		return false, err
	}
	met := !slices.ContainsFunc(made, func(f figures.Figure) bool { return !f.Met() })
	return met && len(stale) == 0, nil
}

// shuffled puts mutants into the order of a seed.
func shuffled(all []mutant, seed uint64) []mutant {
	all = slices.Clone(all)
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// judge judges mutants in their order until as many as the sample wants compile. How many are tried at a time does not
// change which ones are in the sample.
func (s *settings) judge(ctx context.Context, r *room, all []mutant) (*result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	verdicts := make([]verdict, len(all))
	var wait sync.WaitGroup
	var mu sync.Mutex // guards next and good
	next, good := 0, 0
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(all) || s.samples > 0 && good >= s.samples || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range s.parallel {
		wait.Go(func() {
			for {
				i, ok := take()
				if !ok {
					return
				}
				v, err := r.judge(ctx, &all[i])
				if err != nil {
					cancel(err)
					return
				}
				verdicts[i] = v
				if s.verbose {
					fmt.Fprintf(os.Stderr, "%s: %s\n", &all[i], v)
				}
				if v != broken {
					mu.Lock()
					good++
					mu.Unlock()
				}
			}
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	res := new(result)
	for i := range next {
		if s.samples > 0 && res.judged() == s.samples {
			break
		}
		res.add(&all[i], verdicts[i])
	}
	return res, nil
}
