package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/demo"
)

// demoFlags are those of the demo command.
type demoFlags struct {
	cfg     demo.Config
	asJSON  bool
	verbose bool
	picture string
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "show in 20 seconds what it does",
		Long: `Sends the same requests to the same twelve servers through eight proxies: first each proxy
takes the server with the fewest connections by its own count, then eight edges ask a master.
Each server works on one request at a time; four are twice as fast, and nothing tells the
proxies or the master which. All are real processes on loopback. The table has the ideal
beside both, which the simulator computes for these very requests. It needs nothing
installed and leaves nothing behind.`,
		Example: `  evenkeel demo
  evenkeel demo --against haproxy`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runDemo(ctx, &f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&f.cfg.Length, "length", 9*time.Second, "traffic through the proxies, and again through the edges")
	flags.Uint64Var(&f.cfg.Seed, "seed", 1, "of the requests' times and their work")
	flags.StringVar(&f.cfg.Against, "against", demo.SmallProxies, "the proxies: haproxy or nginx, which must be installed (default small ones of our own)")
	flags.BoolVar(&f.asJSON, "json", false, "print only the result, as JSON")
	flags.BoolVar(&f.verbose, "verbose", false, "show the logs of all processes")
	flags.StringVar(&f.picture, "picture", "", "also write what was seen to a file, as a moving SVG")
	completeWords(cmd, "against", "haproxy", "nginx")
	return cmd
}

func runDemo(ctx context.Context, f *demoFlags, out, stderr io.Writer) error {
	if err := f.complete(stderr); err != nil {
		return err
	}
	var recorded []demo.Sight
	var show func(demo.Sight)
	if !f.asJSON {
		fmt.Fprintf(out, "12 servers, one request at a time each, 4 of them twice as fast; the same requests, at .8 of what they can do,\n"+
			"through 8 %s that count for themselves, then through 8 edges that ask one master; %v each\n\n", f.proxies(), f.cfg.Length)
		show = newSightPrinter(out).show
	}
	if f.picture != "" || show != nil {
		f.cfg.Live = func(s demo.Sight) {
			if show != nil {
				show(s)
			}
			recorded = append(recorded, s)
		}
	}
	result, err := demo.Run(ctx, f.cfg)
	if ctx.Err() != nil {
		terminal.PrintLine(stderr, "stopped before the end; all processes have ended")
		return nil
	}
	if err != nil {
		return hint.With(err, "evenkeel demo --verbose shows the logs of all its processes")
	}
	if f.picture != "" {
		if err := os.WriteFile(f.picture, demo.Picture(recorded, result), 0o644); err != nil {
			return err
		}
	}
	if f.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(result)
	}
	return printResult(out, result)
}

// complete checks the flags and finds the programs.
func (f *demoFlags) complete(stderr io.Writer) (err error) {
	if f.cfg.Length < time.Second || f.cfg.Length > 10*time.Minute {
		return hint.Usagef("such as --length 9s", "--length %v: want 1s to 10m", f.cfg.Length)
	}
	if f.cfg.Binary, err = os.Executable(); err != nil {
		return hint.With(fmt.Errorf("demo: cannot find my own program file: %w", err), "run the evenkeel binary by its path")
	}
	if f.verbose {
		f.cfg.Log = stderr
	}
	switch f.cfg.Against {
	case demo.SmallProxies:
		return nil
	case demo.HAProxy, demo.Nginx:
		f.cfg.Program, err = lookPath(f.cfg.Against)
		if err != nil {
			return hint.With(fmt.Errorf("demo: there is no program %s on the PATH", f.cfg.Against), "on Debian: apt-get install "+f.cfg.Against)
		}
		return nil
	}
	return hint.Usagef("want haproxy or nginx", "--against %q is not known", f.cfg.Against)
}

// lookPath finds a program on the PATH or where Debian keeps daemons.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return exec.LookPath("/usr/sbin/" + name)
	}
	return path, err
}

// proxies names those that the edges are compared with.
func (f *demoFlags) proxies() string {
	return map[string]string{demo.SmallProxies: "small proxies", demo.HAProxy: "HAProxys (leastconn)", demo.Nginx: "nginxs (least_conn)"}[f.cfg.Against]
}

func printResult(out io.Writer, result demo.Result) error {
	ideal := result.Policies[len(result.Policies)-1]
	terminal.PrintLine(out, "")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tmean\tp50\tp95\tp99\tp99/ideal\terrors\t")
	for _, o := range result.Policies {
		fmt.Fprintf(w, "%s\t%.0f ms\t%.0f ms\t%.0f ms\t%.0f ms\t%.2f\t%d of %d\t\n", o.Policy, o.Mean, o.P50, o.P95, o.P99, o.P99/ideal.P99, o.Errors, o.Requests)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if result.Late {
		fmt.Fprintf(out, "\nThis machine was too busy to send the requests in time: the figures are worse than they should be.\n")
	}
	fmt.Fprintf(out, "Times are those of the requests after the warm-up, the first tenth.\n")
	_, err := fmt.Fprintf(out, "\nOn three other such series of requests, simulated, the p99 of least connections at each proxy is %.1f to %.1f times\n"+
		"that of eight edges with one master; your own case: evenkeel simulate FILE\n", result.Other.Lowest, result.Other.Highest)
	return err
}
