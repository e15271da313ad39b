package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// simulation is what the command line asks for.
type simulation struct {
	all      bool
	policies []string
	seeds    []uint
	requests int
	json     bool
	plot     string
	goals    string
	search   int
	seed     uint64
}

func simulateCommand() *cobra.Command {
	var want simulation
	cmd := &cobra.Command{
		Use:   "simulate [FILE | SCENARIO]...",
		Short: "run traffic in virtual time, beside other proxies and the ideal",
		Long: `Simulate runs the master's own core in virtual time with clients, edges, servers,
reports and faults as a scenario says, and beside it what other proxies do and the
ideal that no policy can reach, all on the same requests. A scenario is a YAML file of
yours or one of the built-in ones, of which a word names several: B1 means B1-4,
B1-16 and so on. docs/simulate.md explains both. The same scenarios, policies and
seeds give the same output, byte for byte.

Scenarios:
` + scenarioHelp() + `
Policies:
` + policyHelp(),
		Example: `  evenkeel simulate B1
  evenkeel simulate B2 mine.yaml --policy least-load,haproxy-leastconn --plot b2.svg
  evenkeel simulate --search 200 --seed 7`,
		Args: func(cmd *cobra.Command, args []string) error { return want.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return want.run(cmd.Context(), args, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&want.all, "all", false, "every built-in scenario")
	flags.StringSliceVar(&want.policies, "policy", []string{"least-load", "haproxy-leastconn", "nginx-least-conn", "edge-weighted-round-robin"}, "who chooses; the first is held against the goals")
	flags.UintSliceVar(&want.seeds, "seeds", []uint{1, 2, 3}, "one run for each; figures are the runs' means")
	flags.IntVar(&want.requests, "requests", 0, "in a run, instead of the scenario's number")
	flags.BoolVar(&want.json, "json", false, "print JSON, times in seconds")
	flags.StringVar(&want.plot, "plot", "", "write an SVG picture of the quantiles to this file")
	flags.StringVar(&want.goals, "goals", "", "write the goals and what was measured to this file, as JSON")
	flags.IntVar(&want.search, "search", 0, "instead: run so many scenarios drawn at random, and print the ten in which ours does worst beside the best peer")
	flags.Uint64Var(&want.seed, "seed", 1, "what --search draws from")
	cmd.ValidArgsFunction = completeScenario
	completeList(cmd, "policy", sim.Names()...)
	return cmd
}

// builtInScenarios returns the scenarios that this program contains.
func builtInScenarios() (all []sim.Scenario) {
	for _, f := range sim.Canonical("") {
		if s, err := parseScenario(f.Name, f.YAML); err == nil {
			all = append(all, s)
		}
	}
	return all
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range builtInScenarios() {
		fmt.Fprintf(&b, "  %-14s %s\n", s.Name, s.About)
	}
	return b.String()
}

func policyHelp() string {
	var b strings.Builder
	for _, name := range sim.Names() {
		fmt.Fprintf(&b, "  %-29s %s\n", name, sim.About(name))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (want *simulation) check(cmd *cobra.Command, args []string) error {
	if want.search != 0 {
		return want.checkSearch(cmd, args)
	}
	if want.all == (len(args) > 0) {
		return hint.Usagef("such as evenkeel simulate B1, or evenkeel simulate --all", "simulate takes files or names of scenarios, or --all")
	}
	if len(want.policies) == 0 || len(want.seeds) == 0 {
		return hint.Usagef(cmd.CommandPath()+" --help lists them", "simulate wants at least one policy and one seed")
	}
	for _, name := range want.policies {
		if name == sim.Ideal {
			return hint.Usagef("name the policies to be compared with it", "--policy: the %s is always shown where a scenario has one", name)
		}
		if err := sim.Check(name); err != nil {
			return hint.Usagef(cmd.CommandPath()+" --help says what they are", "--policy: %v", err)
		}
	}
	return nil
}

// checkSearch refuses what a search takes no notice of.
func (want *simulation) checkSearch(cmd *cobra.Command, args []string) error {
	if want.search < 0 {
		return hint.Usagef("such as --search 200", "--search: %d, want at least 1", want.search)
	}
	for _, name := range []string{"all", "policy", "seeds", "requests", "json", "plot", "goals"} {
		if cmd.Flags().Changed(name) {
			return hint.Usagef("leave it out", "--%s means nothing beside --search, which draws scenarios and knows whom to compare", name)
		}
	}
	if len(args) > 0 {
		return hint.Usagef("leave it out", "%s means nothing beside --search, which draws its scenarios", args[0])
	}
	return nil
}

// runSearch prints the worst scenarios, each as a file has it.
func (want *simulation) runSearch(ctx context.Context, out io.Writer) error {
	worst, err := sim.Search(ctx, want.search, want.seed, nil)
	if err != nil {
		return err
	}
	for _, f := range worst {
		if _, err := fmt.Fprintf(out, "# %s %.3f times that of %s\n%s---\n", f.Figure, f.Ratio, f.Peer, f.Scenario.YAML()); err != nil {
			return err
		}
	}
	return nil
}

func (want *simulation) run(ctx context.Context, args []string, out io.Writer) error {
	if want.search > 0 {
		return want.runSearch(ctx, out)
	}
	scenarios, err := want.scenarios(args)
	if err != nil {
		return err
	}
	seeds := make([]uint64, len(want.seeds))
	for i, seed := range want.seeds {
		seeds[i] = uint64(seed)
	}
	var comparisons []sim.Comparison
	for i := range scenarios {
		c, err := sim.Compare(ctx, scenarios[i], want.policies, seeds)
		if err != nil {
			return err
		}
		comparisons = append(comparisons, c)
		if !want.json {
			printComparison(out, &c)
		}
	}
	if want.json {
		err = printJSON(out, comparisons)
	} else {
		printGoals(out, comparisons)
	}
	return errors.Join(err, want.write(comparisons))
}

// scenarios finds what the arguments name and reads it.
func (want *simulation) scenarios(args []string) ([]sim.Scenario, error) {
	var files []sim.File
	if want.all {
		files = sim.Canonical("")
	}
	for _, arg := range args {
		found, err := findScenario(arg)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	var scenarios []sim.Scenario
	for _, f := range files {
		s, err := parseScenario(f.Name, f.YAML)
		if err != nil {
			return nil, err
		}
		if want.requests > 0 {
			s.Requests = want.requests
			s.Validate(func(field, problem string) { err = hint.Usagef("", "--requests: %s: %s", field, problem) })
		}
		if err != nil {
			return nil, err
		}
		scenarios = append(scenarios, s)
	}
	return scenarios, nil
}

// findScenario takes a word for a built-in scenario, and failing that for a file.
func findScenario(arg string) ([]sim.File, error) {
	if files := sim.Canonical(arg); arg != "" && len(files) > 0 {
		return files, nil
	}
	text, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.With(fmt.Errorf("there is no scenario and no file %s", arg), "evenkeel simulate --help lists the scenarios")
	}
	if err != nil {
		return nil, err
	}
	return []sim.File{{Name: arg, YAML: text}}, nil
}

func parseScenario(name string, text []byte) (sim.Scenario, error) {
	var s sim.Scenario
	file := config.Parse(name, text, os.LookupEnv)
	file.Decode(&s)
	s.Validate(file.Bad)
	s.Name = cmp.Or(s.Name, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)))
	return s, file.Err()
}

// write leaves the files that were asked for.
func (want *simulation) write(comparisons []sim.Comparison) error {
	if want.goals != "" {
		if err := figures.Write(want.goals, slices.Concat(goals(comparisons), worst(comparisons), peers(comparisons))); err != nil {
			return err
		}
	}
	if want.plot != "" {
		return writeFile(want.plot, func(w io.Writer) error { return sim.Plot(w, comparisons) })
	}
	return nil
}

func writeFile(path string, fill func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
