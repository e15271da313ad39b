package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"
)

// statusFlags are those of the status command.
type statusFlags struct {
	api
	asJSON bool
	watch  bool
}

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show every server, edge and agent in a line, and what is wrong",
		Long: `Status asks a master for all that it knows: a line for each server with its state, load,
rate, latency and errors, and one for each edge and agent that is connected.

It exits with 0 if all is well, with 3 if something is wrong, with 1 if no master answers, and with 2
if it is not clear which one is meant.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print what the API answers")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show it again every second until Ctrl-C")
	f.api.add(cmd)
	return cmd
}

// errTrouble says that the command has shown what is wrong, and that this is its result.
var errTrouble = errors.New("something is wrong")

func (f *statusFlags) run(ctx context.Context, out io.Writer) error {
	if !f.watch {
		return f.show(ctx, out, terminal.NewPainter(out))
	}
	if f.asJSON {
		return hint.Usagef("such as evenkeel status --json", "--watch and --json cannot go together")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var page bytes.Buffer
		err := f.show(ctx, &page, terminal.NewPainter(out))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, errTrouble) {
			return err
		}
		if terminal.Is(out) {
			terminal.PrintLine(out, terminal.ClearScreen)
		}
		if _, err := page.WriteTo(out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *statusFlags) show(ctx context.Context, out io.Writer, paint terminal.Painter) error {
	answer, err := f.call(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return err
	}
	var s statusAnswer
	err = printAnswer(out, answer, f.asJSON, &s, func() { s.printTables(out, paint) })
	if err == nil && len(s.Problems) > 0 {
		err = errTrouble
	}
	return err
}

// statusAnswer is the API's answer about a master.
type statusAnswer struct {
	Master struct {
		ID, Version string
		UpS         float64 `json:"up_s"`
	}
	Problems []string
	Pools    []struct {
		Name, Policy, Leader string
		Leading, Removed     bool
		Open                 int     `json:"leases_open"`
		Waiting              int     `json:"queue_length"`
		LocalMS              float64 `json:"local_choice_trip_ms"`
		Canary               struct{ Words string }
		Servers              []serverAnswer
	}
	Edges, Agents []peerAnswer
}

type serverAnswer struct {
	ID, State string
	SinceS    float64 `json:"since_s"`
	Why       string
	Outages   []struct {
		Reason string
	}
	Overrides   []overrideAnswer
	Address, At string
	Addresses   []string // that the server's name has, if there is more than one server's
	InFlight    int      `json:"in_flight"`
	Pools       []string `json:"other_pools"`
	Elsewhere   int      `json:"other_pools_in_flight"`
	Slots       float64  `json:"slots"`
	Known       bool     `json:"slots_known"`
	Rate        float64  `json:"requests_per_s"`
	Failures    float64
	P50MS       *float64 `json:"p50_ms"`
	P99MS       *float64 `json:"p99_ms"`
	ReportMS    *float64 `json:"report_age_ms"`
}

type peerAnswer struct {
	ID, Pool, Version, Address string
	ConnectedS                 float64 `json:"connected_s"`
	Local                      bool    `json:"local_choices"`
}

func (s *statusAnswer) printTables(out io.Writer, paint terminal.Painter) {
	terminal.PrintLine(out, fmt.Sprintf("master %s  %s  up %s", s.Master.ID, s.Master.Version, forSeconds(s.Master.UpS)))
	for _, p := range s.Pools {
		lead := "led by this master"
		switch {
		case p.Removed:
			lead = "removed from the file, goes with its last request"
		case !p.Leading && p.Leader != "":
			lead = "led by the master at " + p.Leader
		case !p.Leading:
			lead = "led by no master that is known"
		}
		terminal.PrintLine(out, fmt.Sprintf("\npool %s  %s  %s  %d in flight, %d in the queue", p.Name, p.Policy, lead, p.Open, p.Waiting))
		if p.LocalMS > 0 && slices.ContainsFunc(s.Edges, func(e peerAnswer) bool { return e.Local }) {
			terminal.PrintLine(out, fmt.Sprintf("  edges that are %s or more away choose servers themselves", people(p.LocalMS)))
		}
		if p.Canary.Words != "" {
			terminal.PrintLine(out, "  share of "+p.Canary.Words)
		}
		printServers(out, paint, p.Servers, func(server string) bool { return s.hasProblem(p.Name, server) })
	}
	printPeers(out, "edge", s.Edges)
	printPeers(out, "agent", s.Agents)
	terminal.PrintLine(out, "")
	if len(s.Problems) == 0 {
		terminal.PrintLine(out, paint(terminal.Green, "all is well"))
	}
	for _, problem := range s.Problems {
		terminal.PrintLine(out, paint(terminal.Red, problem))
	}
}

// present says how many requests of the pool are at the server, and of other pools if it stands in some.
func (s *serverAnswer) present() string {
	if len(s.Pools) == 0 {
		return strconv.Itoa(s.InFlight)
	}
	return fmt.Sprintf("%d + %d of %s", s.InFlight, s.Elsewhere, strings.Join(s.Pools, ", "))
}

// hasProblem reports whether a server is among the problems, which are printed at the end.
func (s *statusAnswer) hasProblem(pool, server string) bool {
	return slices.ContainsFunc(s.Problems, func(text string) bool { return strings.HasPrefix(text, "server "+server+" of pool "+pool+": ") })
}

func printServers(out io.Writer, paint terminal.Painter, servers []serverAnswer, toldBelow func(server string) bool) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  server\tstate, since\tin flight / slots\treq/s\tp50\tp99\tfailed\treported")
	for _, s := range servers {
		slots := strconv.FormatFloat(s.Slots, 'f', -1, 64)
		if s.Slots != float64(int(s.Slots)) {
			slots = figure(s.Slots)
		}
		if !s.Known {
			slots = "?"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s / %s\t%.1f\t%s\t%s\t%.0f %%\t%s\n", s.ID, s.state(), s.present(), slots, s.Rate,
			latency(s.P50MS), latency(s.P99MS), 100*s.Failures, reported(s.ReportMS))
	}
	_ = w.Flush() // a builder takes all
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		color := terminal.Dim // of the heading
		if i > 0 {
			color = servers[i-1].color()
		}
		terminal.PrintLine(out, paint(color, line))
	}
	for _, s := range servers {
		if s.Why != "" && (len(s.Outages) > 1 || !toldBelow(s.ID)) {
			terminal.PrintLine(out, paint(s.color(), fmt.Sprintf("  %s: %s", s.ID, s.Why)))
		}
		for i := range s.Overrides {
			if s.Overrides[i].Value != nil { // maintenance is told already
				terminal.PrintLine(out, paint(terminal.Yellow, fmt.Sprintf("  %s: %s", s.ID, s.Overrides[i].words())))
			}
		}
		if len(s.Addresses) > 0 {
			terminal.PrintLine(out, fmt.Sprintf("  %s: the name in %s has %d addresses, and %s is used; with resolve: all each is a server: %s", s.ID, s.Address, len(s.Addresses), s.At, strings.Join(s.Addresses, ", ")))
		}
	}
}

// state is in a word or two what becomes of the server, and since when.
func (s *serverAnswer) state() string {
	if len(s.Outages) == 0 {
		return s.State + " " + forSeconds(s.SinceS)
	}
	return s.Outages[0].Reason + " " + forSeconds(s.SinceS)
}

// color is that of the server's lines; none if it takes its share of the work.
func (s *serverAnswer) color() string {
	switch {
	case s.State == "ejected":
		return terminal.Red
	case len(s.Outages) == 0 || s.Outages[0].Reason == "warming":
		return ""
	}
	return terminal.Yellow
}

func printPeers(out io.Writer, role string, peers []peerAnswer) {
	if len(peers) == 0 {
		return
	}
	terminal.PrintLine(out, "")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range peers {
		of := ""
		if p.Pool != "" {
			of = "pool " + p.Pool
		}
		choosing := ""
		if p.Local {
			choosing = "\tchooses servers itself, as asking takes longer than it wins"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\tfrom %s\tconnected for %s%s\n", role, p.ID, of, p.Version, p.Address, forSeconds(p.ConnectedS), choosing)
	}
	_ = w.Flush()
}

func latency(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return people(*ms)
}

func reported(ms *float64) string {
	if ms == nil {
		return "never"
	}
	return ago(*ms)
}

func forSeconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
