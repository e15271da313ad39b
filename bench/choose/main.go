//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/peers"
)

// config is the command line.
type config struct {
	evenkeel  string
	haproxy   string
	nginx     string
	rounds    int
	seed      uint64
	length    time.Duration
	stretch   float64
	repeats   int
	patience  time.Duration
	responses bool
	only      []string // scenarios; none: all
	who       []string // systems; none: all
	out       string   // directory for every run's record
	goals     string
	docs      string
	plot      string
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "farm" {
		exit(runFarm(os.Args[3]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(bench(ctx, parse()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "choose:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse() *config {
	var c config
	var only, who string
	flag.StringVar(&c.evenkeel, "evenkeel", "build/evenkeel", "our binary")
	flag.StringVar(&c.haproxy, "haproxy", "/usr/sbin/haproxy", "HAProxy's binary; its runs are left out if it is not there")
	flag.StringVar(&c.nginx, "nginx", "/usr/sbin/nginx", "nginx's binary; its runs are left out if it is not there")
	flag.IntVar(&c.rounds, "rounds", 5, "how often each system meets each scenario; figures are medians")
	flag.Uint64Var(&c.seed, "seed", 1001, "of the first round's requests; each round has its own")
	flag.DurationVar(&c.length, "length", 30*time.Second, "of one run")
	flag.Float64Var(&c.stretch, "stretch", 0, "times work, and times between requests and reports; 0: so that the machine is at most 60 % busy")
	flag.IntVar(&c.repeats, "repeats", 1, "of a run whose requests were sent late")
	flag.DurationVar(&c.patience, "patience", time.Minute, "how long to wait before a run for others to leave the machine alone")
	flag.BoolVar(&c.responses, "responses", false, "servers report in every answer too, beside their agents")
	flag.StringVar(&only, "only", "", "scenarios, such as B1,B4")
	flag.StringVar(&who, "who", "", "systems, such as evenkeel,haproxy-leastconn")
	flag.StringVar(&c.out, "out", "build/bench/choose-runs", "directory for every run's record")
	flag.StringVar(&c.goals, "goals", "build/bench/choose.json", "file for the goals and what was measured")
	flag.StringVar(&c.docs, "docs", "", "Markdown file whose section is rewritten")
	flag.StringVar(&c.plot, "plot", "build/bench/choose.svg", "file for the picture")
	flag.Parse()
	c.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	c.who = strings.FieldsFunc(who, func(r rune) bool { return r == ',' })
	return &c
}

func (c *config) say(format string, a ...any) { fmt.Printf(format+"\n", a...) }

// wants reports whether a name was asked for.
func wants(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

// bench plays everything, interleaved: in every round each system meets each scenario,
// and who begins moves on, so that what disturbs the machine for a while disturbs all.
func bench(ctx context.Context, c *config) error {
	chosen, err := c.systems()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	if c.stretch == 0 {
		if c.stretch, err = c.fit(ctx); err != nil {
			return err
		}
	}
	var runs []run
	for round := range c.rounds {
		for i, row := range scenarios {
			if !wants(c.only, row.id) {
				continue
			}
			more, err := c.meet(ctx, i, round, chosen)
			runs = append(runs, more...)
			if err != nil {
				return err
			}
		}
	}
	return c.report(runs)
}

// systems returns those that were asked for and are installed.
func (c *config) systems() (chosen []system, err error) {
	var missing error
	for _, s := range systems {
		if !wants(c.who, s.name) {
			continue
		}
		binary := c.evenkeel
		for _, peer := range []string{c.haproxy, c.nginx} {
			if strings.HasPrefix(s.name, filepath.Base(peer)) {
				binary = peer
			}
		}
		if _, err := exec.LookPath(binary); err != nil {
			if binary == c.evenkeel {
				return nil, fmt.Errorf("%w: make build makes it", err)
			}
			missing = fmt.Errorf("%s is left out: %w", s.name, peers.Missing(filepath.Base(binary)))
			c.say("%v", missing)
			continue
		}
		chosen = append(chosen, s)
	}
	if len(chosen) == 0 {
		return nil, errors.Join(errors.New("no system is left to run"), missing)
	}
	return chosen, nil
}

const (
	mostBusy = .60
	probe    = 5 * time.Second
)

// fit finds the smallest stretch at which ours, the most expensive in processor time, leaves the machine
// enough idle that waiting for a processor is not what is measured.
func (c *config) fit(ctx context.Context) (stretch float64, err error) {
	for stretch = 1; ; stretch *= 2 {
		p, err := newPlan(0, c.seed, probe, stretch)
		if err != nil {
			return 0, err
		}
		r, err := play(ctx, c, p, &systems[0], c.seed)
		if err != nil {
			return 0, err
		}
		c.say("stretched %v times, the machine is %.0f %% busy", stretch, 100*r.Busy)
		if r.Busy <= mostBusy || stretch == 8 {
			return stretch, nil
		}
	}
}

// meet lets each system meet one scenario. A run that fails is told of and left out.
func (c *config) meet(ctx context.Context, i, round int, chosen []system) (runs []run, err error) {
	seed := c.seed + uint64(round)
	p, err := newPlan(i, seed, c.length, c.stretch)
	if err != nil {
		return nil, err
	}
	c.say("%s, round %d of %d: %d requests; ideal p50 %.1f ms, p99 %.1f ms", p.id, round+1, c.rounds, len(p.trace), 1e3*p.ideal.P50, 1e3*p.ideal.P99)
	for j := range chosen {
		s := &chosen[(j+round)%len(chosen)]
		r, err := turn(ctx, c, p, s, seed)
		if ctx.Err() != nil {
			return runs, context.Cause(ctx)
		}
		if err != nil {
			c.say("  a run failed and is left out: %v", err)
			continue
		}
		c.say("  %-27s p50 %6.1f ms  p99 %7.1f ms  p99/ideal %.3f (simulated %.3f)  errors %d  busy %.0f %%  choosers %.2f CPU  late %.2f ms",
			s.name, 1e3*r.P50, 1e3*r.P99, r.Ratio, r.Simulated, r.Errors, 100*r.Busy, r.Choosers, 1e3*r.Late)
		if r.Errors > 0 {
			c.say("    answers other than 200, 0 for none: %v", r.Statuses)
		}
		for _, l := range r.Learnt {
			c.say("    %v", l)
		}
		runs = append(runs, r)
		if err := c.keep(r); err != nil {
			return runs, err
		}
	}
	return runs, nil
}

// keep adds a run to the record of all runs.
func (c *config) keep(r run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(c.out, "runs.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
