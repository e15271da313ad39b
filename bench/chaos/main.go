//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

// settings are what the command line says.
type settings struct {
	binary   string
	duration time.Duration
	seed     uint64
	rate     float64
	out      string
	logs     string
}

func main() {
	var c settings
	flag.StringVar(&c.binary, "evenkeel", "build/evenkeel", "the program to test")
	flag.DurationVar(&c.duration, "duration", 10*time.Minute, "how long things go wrong")
	flag.Uint64Var(&c.seed, "seed", 0, "of all chance; 0 draws one")
	flag.Float64Var(&c.rate, "rate", 80, "requests a second")
	flag.StringVar(&c.out, "out", "build/bench/chaos.json", "where the figures go")
	flag.StringVar(&c.logs, "logs", "", "a folder for the log of every process; empty: only the last lines are kept, and shown if a rule is broken")
	listen := flag.String("serve", "", "be a server of the system, at this address")
	record := flag.String("record", "", "where that server writes what it is asked")
	flag.Parse()
	if *listen != "" {
		fail(serve(*listen, *record))
		return
	}
	if c.seed == 0 {
		c.seed = rand.Uint64() >> 32
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("chaos: seed %d; to run the same again: make chaos SEED=%d DURATION=%v\n", c.seed, c.seed, c.duration)
	fail(run(ctx, c))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// settle is how long the system may take to come to rest.
const settle = 40 * time.Second

func run(ctx context.Context, c settings) (err error) {
	dir, err := os.MkdirTemp("", "evenkeel-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(c.binary)
	if err != nil {
		return err
	}
	s, err := build(binary, self, dir, c.logs)
	defer func() {
		if ended := s.end(); err == nil {
			err = ended
		}
	}()
	if err != nil {
		return err
	}
	if !s.namespaces {
		fmt.Println("chaos: no network namespaces here, so nobody is cut off")
	}
	v, plan, err := trial(ctx, c, s)
	if err != nil {
		return err
	}
	return v.report(c, s, plan)
}

// trial lets all go wrong and judges what is left.
func trial(ctx context.Context, c settings, s *system) (*verdict, [][]*fault, error) {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	v := newVerdict()
	if err := s.rest(settle); err != nil {
		return nil, nil, fmt.Errorf("at the start: %w", err)
	}
	warm, cool := context.WithTimeout(ctx, 3*time.Second)
	results := send(warm, c.seed+1, c.rate, s.of("edge"))
	cool()
	if err := s.rest(settle); err != nil {
		return nil, nil, fmt.Errorf("before anything went wrong: %w", err)
	}
	before, err := measure(s)
	if err != nil {
		return nil, nil, err
	}
	var plan [][]*fault
	for lane := range lanes {
		plan = append(plan, schedule(c.seed, s, lane, c.duration))
	}
	load, end := context.WithCancel(ctx)
	sent := make(chan []result, 1)
	go func() { sent <- send(load, c.seed, c.rate, s.of("edge")) }()
	hurt := inflict(ctx, s, log, plan)
	end()
	results = append(results, <-sent...)
	if hurt != nil {
		return nil, nil, hurt
	}
	for _, p := range s.parts {
		if p.ended() {
			v.against(ruleAlive, "%s: %s", p.name, p.log())
		}
	}
	if err := s.rest(settle); err != nil {
		v.against(ruleRest, "%v", err)
	}
	if err := v.judge(s, results, plan); err != nil {
		return nil, nil, err
	}
	after, err := measure(s)
	if err == nil {
		v.compare(before, after)
	}
	return v, plan, err
}

// report prints and writes what was found; its error says that rules were broken.
func (v *verdict) report(c settings, s *system, plan [][]*fault) error {
	kinds := make(map[string]int)
	n := 0
	for _, lane := range plan {
		for _, f := range lane {
			kinds[f.target.role+": "+f.kind]++
			n++
		}
	}
	all := []figures.Figure{{Name: "seed", Value: float64(c.seed)}, {Name: "length", Value: c.duration.Seconds(), Unit: "s"},
		{Name: "requests", Value: float64(v.requests)}, {Name: "faults", Value: float64(n)},
		{Name: "errors while an edge or a server was away", Value: float64(v.failed - v.broken[ruleNoErrors])}}
	for _, role := range []string{"master", "edge", "server", "agent"} {
		for _, kind := range order {
			if k := kinds[role+": "+kind]; k > 0 {
				all = append(all, figures.Figure{Name: "faults, " + role + ": " + kind, Value: float64(k)})
			}
		}
	}
	bad := 0
	for _, rule := range rules {
		all = append(all, figures.Figure{Name: rule, Value: float64(v.broken[rule]), Goal: "<=0"})
		if v.broken[rule] > 0 {
			bad++
			fmt.Printf("BROKEN: %s: %d; the first:\n  %s\n", rule, v.broken[rule], strings.Join(v.first[rule], "\n  "))
		}
	}
	for _, f := range all {
		fmt.Printf("%-68s %10.0f %-2s %s\n", f.Name, f.Value, f.Unit, f.Goal)
	}
	if err := figures.Write(c.out, all); err != nil {
		return err
	}
	if bad > 0 {
		for _, p := range append(s.of("master"), s.of("edge")...) {
			fmt.Printf("--- log of %s\n%s", p.name, p.log())
		}
		return fmt.Errorf("%d rules broken; to run the same again: make chaos SEED=%d DURATION=%v", bad, c.seed, c.duration)
	}
	return nil
}
