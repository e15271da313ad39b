//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
)

// settings are what the command line says.
type settings struct {
	binary   string
	duration time.Duration
	seed     uint64
	rate     float64
	answers  int
	out      string
	logs     string
	inside   bool
}

func main() {
	var c settings
	flag.StringVar(&c.binary, "evenkeel", "build/evenkeel", "the program to test")
	flag.DurationVar(&c.duration, "duration", 10*time.Minute, "how long things go wrong")
	flag.Uint64Var(&c.seed, "seed", 0, "of all chance; 0 draws one")
	flag.Float64Var(&c.rate, "rate", 80, "requests a second")
	flag.IntVar(&c.answers, "answers", 0, "run with one seed after another until so many answers are matched; 0: once")
	flag.StringVar(&c.out, "out", "build/bench/chaos.json", "where the figures go; pictures of violations go beside it")
	flag.StringVar(&c.logs, "logs", "", "a folder for the log of every process; empty: only the last lines are kept, and shown if a rule is broken")
	flag.BoolVar(&c.inside, "inside", false, "for the program itself: nothing else is in this network namespace")
	flag.Parse()
	if c.inside {
		fail(run(c))
		return
	}
	fail(peers.Need("etcd"))
	if c.seed == 0 {
		c.seed = rand.Uint64() >> 32
	}
	walls := peers.Need("ip", "nft")
	for matched := 0; ; c.seed++ {
		fmt.Printf("chaos: seed %d; to run the same again: make chaos SEED=%d DURATION=%v\n", c.seed, c.seed, c.duration)
		fail(once(c, walls))
		n, err := answersIn(c.out)
		fail(err)
		if matched += n; matched >= c.answers {
			if c.answers > 0 {
				fmt.Printf("chaos: %d answers matched in all\n", matched)
			}
			return
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// once runs with one seed, behind walls where that can be.
func once(c settings, walls error) error {
	if walls == nil {
		code, ok := enter("-seed", fmt.Sprint(c.seed))
		if ok && code != 0 {
			os.Exit(code) // it has said why
		}
		if ok {
			return nil
		}
		walls = errors.New("network namespaces need root")
	}
	fmt.Printf("chaos: %v, so nothing is cut off and nothing moves\n", walls)
	return run(c)
}

// answersIn returns how many answers a run has matched.
func answersIn(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var all []figures.Figure
	if err := json.Unmarshal(text, &all); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	for _, f := range all {
		if f.Name == matchedAnswers && f.Value > 0 {
			return int(f.Value), nil
		}
	}
	return 0, fmt.Errorf("%s: no answer was matched", file)
}

// settle is how long the system may take to come to rest.
const settle = 60 * time.Second

func run(c settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "evenkeel-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := filepath.Abs(c.binary)
	if err != nil {
		return err
	}
	network, err := newNetwork(c.inside, dir)
	if err != nil {
		return err
	}
	s := &system{binary: binary, dir: dir, logs: c.logs, net: network}
	defer s.end()
	if err := s.build(); err != nil {
		return err
	}
	return s.trial(ctx, c)
}

// trial lets all go wrong, judges what is left and reports.
func (s *system) trial(ctx context.Context, c settings) error {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	v := newVerdict()
	if err := s.rest(settle); err != nil {
		return fmt.Errorf("at the start: %w", err)
	}
	warm, cool := context.WithTimeout(ctx, 3*time.Second)
	results, err := s.send(warm, c.seed+1, c.rate)
	cool()
	if err != nil {
		return err
	}
	if err := s.rest(settle); err != nil {
		return fmt.Errorf("before anything went wrong: %w", err)
	}
	before, err := measure(s)
	if err != nil {
		return err
	}
	var plan [][]*fault
	for lane := range lanes {
		plan = append(plan, schedule(c.seed, s, lane, c.duration))
	}
	load, end := context.WithCancel(ctx)
	type sent struct {
		results []result
		err     error
	}
	all := make(chan sent, 1)
	go func() {
		results, err := s.send(load, c.seed, c.rate)
		all <- sent{results, err}
	}()
	hurt := inflict(ctx, s, log, plan)
	end()
	under := <-all
	if err := errors.Join(hurt, under.err); err != nil {
		return err
	}
	results = append(results, under.results...)
	for _, p := range s.parts {
		if err := p.revive(); err != nil {
			return err
		}
		for _, how := range p.deaths() {
			v.against(ruleAlive, "%s at %s", p.name, how)
		}
	}
	if err := s.rest(settle); err != nil {
		v.against(ruleRest, "%v%s", err, s.openLeases())
	}
	if after, err := measure(s); err != nil {
		v.against(ruleAlive, "%v", err)
	} else {
		v.compare(before, after)
	}
	pictures := filepath.Join(filepath.Dir(c.out), "chaos-violations")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	if err := v.judge(s, results, plan, pictures); err != nil {
		return err
	}
	return v.report(c, s, plan)
}
