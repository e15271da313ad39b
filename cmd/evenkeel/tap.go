package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"
)

// tapFlags are those of the tap command.
type tapFlags struct {
	api
	server, edge string
	slowerThan   time.Duration
	errors       bool
	asJSON       bool
}

func tapCommand() *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap [POOL]",
		Short: "print decisions and outcomes as they happen",
		Long: `Tap prints a line when a request gets a server, when it ends, and when it gets none, until Ctrl-C:
of one pool, or of all. Of many requests it prints those of one lease in 2, 4, 8 …, and says so on
standard error: a master tells at most 100 lines four times a second. With --errors or --slower-than
only those count that are looked for, so that few of many thousand a second are seen all.
evenkeel explain LEASE tells the rest of a decision.`,
		Example: "  evenkeel tap render --slower-than 2s\n  evenkeel tap --errors --json | jq -r .error",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return hint.Usagef("such as evenkeel tap render", "tap takes one pool, or none for all, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), strings.Join(args, ""), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&f.server, "server", "", "only of this server; requests that got none are left out")
	cmd.Flags().StringVar(&f.edge, "edge", "", "only of this edge")
	cmd.Flags().DurationVar(&f.slowerThan, "slower-than", 0, "only what took longer, such as 500ms; no decisions")
	cmd.Flags().BoolVar(&f.errors, "errors", false, "only what failed: no ok, client-error and canceled, and no decisions")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print an object a line, as the API has it (/v1/tap)")
	f.api.add(cmd)
	completeFlag(cmd, "server", func(ctx context.Context) []string { return f.knownServers(ctx, "") })
	completeFlag(cmd, "edge", f.edgeIDs)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		return f.poolNames(ctx), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// path is what the command asks for.
func (f *tapFlags) path(pool string) string {
	query := url.Values{}
	for name, value := range map[string]string{"pool": pool, "server": f.server, "edge": f.edge} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.slowerThan > 0 {
		query.Set("slower_than_ms", strconv.FormatFloat(float64(f.slowerThan)/float64(time.Millisecond), 'f', -1, 64))
	}
	if f.errors {
		query.Set("errors", "true")
	}
	if len(query) == 0 {
		return "/v1/tap"
	}
	return "/v1/tap?" + query.Encode()
}

func (f *tapFlags) run(ctx context.Context, pool string, out, notes io.Writer) error {
	if f.slowerThan < 0 {
		return hint.Usagef("such as --slower-than 500ms", "--slower-than %v is negative", f.slowerThan)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	p := &tapPrinter{out: bufio.NewWriter(out), notes: notes, paint: terminal.NewPainter(out), asJSON: f.asJSON, width: func() int { return 0 }}
	if terminal.Is(out) {
		p.width = func() int { return terminal.Columns(out) }
	}
	for {
		events, err := f.stream(ctx, f.path(pool))
		if err == nil {
			err = eachEvent(events, p.print)
			_ = events.Close()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		process := f.master.process
		if process == nil {
			return errors.New("the master has ended the stream: it stops, or hands over to another process")
		}
		next := findSuccessor(ctx, cmp.Or(process.told.PID, process.PID))
		if next == nil {
			return fmt.Errorf("%s has ended the stream: it stops", process.Name)
		}
		f.master = next.target()
	}
}

// longestEvent is how many bytes an event has at most.
const longestEvent = 64 << 20

// eachEvent calls f with the data of each server-sent event until they end, which is no error.
func eachEvent(events io.Reader, f func(kind string, data []byte) error) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, longestEvent)
	kind := ""
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "event":
			kind = string(value)
		case "data":
			if err := f(kind, value); err != nil {
				return err
			}
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return lines.Err()
	}
	return nil
}

// tapPrinter prints what a tap tells.
type tapPrinter struct {
	out    *bufio.Writer
	notes  io.Writer
	paint  terminal.Painter
	asJSON bool
	width  func() int // of the terminal; 0: lines are not cut
	oneIn  int        // as it was noted last; 0: all
}

// tapAnswer is an event of the API.
type tapAnswer struct {
	OneIn    int                             `json:"one_in"`
	NotLed   []struct{ Pool, Leader string } `json:"not_led"`
	Requests []json.RawMessage
}

// tappedAnswer is a request in it.
type tappedAnswer struct {
	Kind, Pool, Lease, Server, Edge, Class string
	At                                     int64
	Servers                                int `json:"server_count"`
	Note                                   string
	Score                                  *float64
	Second                                 string
	Behind                                 *float64 `json:"second_score"`
	Result, Error                          string
	TookMS                                 float64 `json:"took_ms"`
	Status                                 int
	GRPC                                   int `json:"grpc_status"`
	Reason, Detail                         string
	WaitedMS                               float64 `json:"waited_ms"`
}

func (p *tapPrinter) print(_ string, data []byte) error {
	var answer tapAnswer
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("the answer is not that of a master: %w", err)
	}
	for _, pool := range answer.NotLed {
		makePlain(&pool)
		lead := "the master at " + pool.Leader + " leads it: ask that one with --admin"
		if pool.Leader == "" {
			lead = "no master that is known leads it"
		}
		terminal.PrintLine(p.notes, "nothing is seen of pool "+pool.Pool+" here: "+lead)
	}
	if answer.OneIn != max(1, p.oneIn) {
		p.oneIn = answer.OneIn
		text := "all requests are shown again"
		if p.oneIn > 1 {
			text = fmt.Sprintf("there are many requests: one lease in %d is shown from here on", p.oneIn)
		}
		terminal.PrintLine(p.notes, text)
	}
	slices.SortStableFunc(answer.Requests, func(a, b json.RawMessage) int { return cmp.Compare(tappedAt(a), tappedAt(b)) })
	for _, raw := range answer.Requests {
		if p.asJSON {
			_, _ = p.out.Write(append(raw, '\n')) // Flush returns the error
			continue
		}
		var one tappedAnswer
		if err := json.Unmarshal(raw, &one); err != nil {
			return fmt.Errorf("the answer is not that of a master: %w", err)
		}
		makePlain(&one)
		_, _ = p.out.WriteString(p.line(&one) + "\n") // Flush returns the error
	}
	return p.out.Flush()
}

func tappedAt(raw json.RawMessage) int64 {
	var one struct{ At int64 }
	_ = json.Unmarshal(raw, &one) // what is wrong with it is found when it is printed
	return one.At
}

// line returns the time, what happened, how long it took, where, and what is special about it.
func (p *tapPrinter) line(t *tappedAnswer) string {
	what, color, took, tail := "", "", "", []string{}
	switch t.Kind {
	case "decision":
		what, color = "picked", terminal.Dim
		tail = t.scores()
	case "outcome":
		what, took = t.Result, people(t.TookMS)
		switch t.Result {
		case "ok":
		case "client-error", "canceled":
			color = terminal.Yellow
		default:
			color = terminal.Red
		}
		if t.Status > 0 {
			tail = append(tail, strconv.Itoa(t.Status))
		}
		if t.GRPC > 0 {
			tail = append(tail, fmt.Sprintf("gRPC %d", t.GRPC))
		}
		if t.Error != "" {
			tail = append(tail, t.Error)
		}
	default:
		what, color, took = t.Reason, terminal.Red, people(t.WaitedMS)
		if t.Detail != "" {
			tail = append(tail, t.Detail)
		}
	}
	if t.Lease != "" {
		tail = append([]string{t.Lease}, tail...)
	}
	if t.Class != "" {
		tail = append(tail, "class "+t.Class)
	}
	before := time.UnixMilli(t.At).Format("15:04:05.000 ")
	after := fmt.Sprintf(" %8s  %s  %s  edge %s  %s", took, cmp.Or(t.Pool, "-"), cmp.Or(t.Server, "-"), cmp.Or(t.Edge, "-"), strings.Join(tail, "  "))
	what = fmt.Sprintf("%-12s", what)
	if width := p.width(); width > 0 {
		after = terminal.Clip(after, max(width-len(before)-len(what), 8))
	}
	return before + p.paint(color, what) + after
}

// scores says how near the decision was.
func (t *tappedAnswer) scores() (words []string) {
	if t.Score != nil {
		text := "score " + figure(*t.Score)
		if t.Second != "" && t.Behind != nil {
			text += ", " + t.Second + " " + figure(*t.Behind)
		}
		words = append(words, fmt.Sprintf("%s of %d", text, t.Servers))
	}
	if t.Note != "" {
		words = append(words, t.Note)
	}
	return words
}
