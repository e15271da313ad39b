package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/demo"
	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var (
		cfg     = demo.Config{Policies: []string{"round-robin", "least-load"}}
		asJSON  bool
		verbose bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "show in 20 seconds what it is good for",
		Long: `Starts a master, two edges and six servers of unequal speed with their agents, all
real processes on loopback, sends them the same heavy-tailed traffic under round robin
and under least-load, and prints what became of it. It needs nothing and leaves nothing behind.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Binary, err = os.Executable(); err != nil {
				return hinted(fmt.Errorf("demo: cannot find my own program file: %w", err), "run the evenkeel binary by its path")
			}
			out := cmd.OutOrStdout()
			if verbose {
				cfg.Log = cmd.ErrOrStderr()
			}
			if !asJSON {
				fmt.Fprintf(out, "one master, two edges, six servers (two slow, two faster, two twice as fast), %v of traffic each:\n\n", cfg.Length)
				cfg.Live = func(s demo.Sight) { printSight(out, s) }
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			outcomes, err := demo.Run(ctx, cfg)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return hinted(err, "evenkeel demo --verbose shows the logs of all its processes")
			}
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				return enc.Encode(map[string]any{"policies": outcomes})
			}
			return printOutcomes(out, outcomes)
		},
	}
	cmd.Flags().DurationVar(&cfg.Length, "length", 9*time.Second, "traffic under each policy")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 1, "of the arrivals and their work")
	cmd.Flags().StringSliceVar(&cfg.Policies, "policy", cfg.Policies, "policies to show, one after the other")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print only the result, as JSON")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "show the logs of all processes")
	return cmd
}

func printSight(out io.Writer, s demo.Sight) {
	fmt.Fprintf(out, "  %-12s %3.0f s  %4d answers/s   half within %5.0f ms   99 %% within %5.0f ms\n", s.Policy, s.At.Seconds(), s.Answers,
		s.P50.Seconds()*1000, s.P99.Seconds()*1000)
}

func printOutcomes(out io.Writer, outcomes []demo.Outcome) error {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\trequests\terrors\tmean\tp50\tp95\tp99\t")
	for _, o := range outcomes {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t%.0f ms\t\n", o.Policy, o.Requests, o.Errors, o.Mean, o.P50, o.P95, o.P99)
	}
	fmt.Fprintln(w)
	fmt.Fprint(w, "share (utilisation)\t")
	for _, s := range outcomes[0].Servers {
		fmt.Fprintf(w, "%s ×%.2g\t", s.ID, s.Speed)
	}
	fmt.Fprintln(w)
	for _, o := range outcomes {
		fmt.Fprintf(w, "%s\t", o.Policy)
		for _, s := range o.Servers {
			fmt.Fprintf(w, "%.0f%% (%.0f%%)\t", 100*s.Share, 100*s.Utilization)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
