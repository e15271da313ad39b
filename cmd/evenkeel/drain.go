package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"
)

func drainCommand() *cobra.Command {
	s := drainClient{verb: "drain", done: "gets no new requests"}
	var deadline time.Duration
	cmd := s.command("send a server no new requests", `Drain lets a server finish its requests and sends it no new ones until it is undrained,
even if the server registers again. A server that stands in several pools is drained in all of them,
or with --only-here in that pool alone. Edges and agents pass the drain on to other masters, and to
this one after a restart. With --deadline the command waits until the server has finished, prints
every second how many requests are left, and fails if some are left at the deadline.`)
	cmd.Example += "\n  evenkeel drain r1 --pool render --reason \"disk\" --deadline 5m"
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "wait so long at most until the server has finished (default: do not wait)")
	s.then = func(ctx context.Context, server string, out io.Writer) error {
		if deadline <= 0 {
			return nil
		}
		return s.awaitIdle(ctx, server, deadline, out)
	}
	return cmd
}

func undrainCommand() *cobra.Command {
	s := drainClient{verb: "undrain", done: "takes requests"}
	return s.command("let a drained server take requests again", "Undrain ends a drain.")
}

// drainClient is a command that drains a server or ends its drain, by a master's API.
type drainClient struct {
	verb, done string
	api        api
	pool       string
	by, reason string
	onlyHere   bool
	then       func(ctx context.Context, server string, out io.Writer) error // after the master has heard; nil: nothing
}

func (s *drainClient) command(short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     s.verb + " SERVER --pool NAME",
		Short:   short,
		Long:    long,
		Example: "  evenkeel " + s.verb + " r1 --pool render",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || s.pool == "" {
				return hint.Usagef("such as evenkeel "+s.verb+" r1 --pool render", "%s takes one server and its --pool", s.verb)
			}
			answer, err := s.api.call(cmd.Context(), http.MethodPost, s.path()+"/servers/"+url.PathEscape(args[0])+"/"+s.verb, map[string]any{"by": orWhoAsks(s.by), "reason": s.reason, "only_here": s.onlyHere})
			if err != nil {
				return err
			}
			terminal.PrintLine(cmd.OutOrStdout(), fmt.Sprintf("server %s of pool %s %s", args[0], s.pool, s.done))
			printAlso(answer, s.done, cmd.OutOrStdout())
			if s.verb == "drain" { // a server that is forgotten gets work anyway
				warnUnkept(answer, "the drain", cmd.ErrOrStderr())
			}
			if s.then == nil {
				return nil
			}
			return s.then(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&s.pool, "pool", "", "the server's pool")
	cmd.Flags().BoolVar(&s.onlyHere, "only-here", false, "not in other pools in which the server stands")
	cmd.Flags().StringVar(&s.reason, "reason", "", "the reason, shown by status and in logs")
	cmd.Flags().StringVar(&s.by, "by", "", "who asks for it (default USER@HOST)")
	s.api.add(cmd)
	completeServer(cmd, &s.api)
	completeFlag(cmd, "pool", s.api.poolNames)
	return cmd
}

// printAlso prints in which other pools a command holds.
func printAlso(answer []byte, done string, out io.Writer) {
	var told struct {
		Also []struct{ Pool, Server string } `json:"also"`
	}
	_ = json.Unmarshal(answer, &told) // what is not told is not printed
	for _, place := range told.Also {
		terminal.PrintLine(out, fmt.Sprintf("server %s of pool %s %s: it is the same server", place.Server, place.Pool, done))
	}
}

// orWhoAsks is who is named, or who runs the command.
func orWhoAsks(named string) string { return cmp.Or(named, whoAsks()) }

// whoAsks is the user and machine that a command runs as.
func whoAsks() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// warnUnkept prints a warning if only this master knows of a command.
func warnUnkept(answer []byte, what string, out io.Writer) {
	var told struct {
		KeptBy struct {
			Edges int    `json:"edges"`
			Agent bool   `json:"agent"`
			File  string `json:"file"`
		} `json:"kept_by"`
	}
	if json.Unmarshal(answer, &told) == nil && told.KeptBy.Edges == 0 && !told.KeptBy.Agent && told.KeptBy.File == "" {
		terminal.PrintLine(out, "warning: this master forgets "+what+" when it stops: no edge is connected, the server has no agent, and the file has no master.drains_file")
	}
}

func (s *drainClient) path() string { return "/v1/pools/" + url.PathEscape(s.pool) }

// Looking how far a drain has come.
const (
	drainLook = 100 * time.Millisecond
	drainTell = time.Second
)

// awaitIdle waits until a server has no open leases and says how many it has meanwhile.
func (s *drainClient) awaitIdle(ctx context.Context, server string, deadline time.Duration, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	began, told := time.Now(), time.Now()
	for left := 0; ; {
		now, err := s.open(ctx, server)
		if err == nil {
			left = now
		}
		switch {
		case ctx.Err() != nil:
			return s.unfinished(ctx, server, left, deadline)
		case err != nil:
			return err
		case left == 0:
			terminal.PrintLine(out, fmt.Sprintf("server %s has finished, after %v", server, time.Since(began).Round(drainLook)))
			return nil
		case time.Since(told) >= drainTell:
			told = time.Now()
			terminal.PrintLine(out, fmt.Sprintf("%d %s left, %v to go", left, terminal.Plural(left, "request"), (deadline-time.Since(began)).Round(time.Second)))
		}
		select {
		case <-ctx.Done():
			return s.unfinished(ctx, server, left, deadline)
		case <-look.C:
		}
	}
}

func (s *drainClient) unfinished(ctx context.Context, server string, left int, deadline time.Duration) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return hint.With(fmt.Errorf("server %s has not finished after %v: %d %s left", server, deadline, left, terminal.Plural(left, "request")),
		"it stays drained: wait longer, stop the server anyway, or run evenkeel undrain "+server+" --pool "+s.pool)
}

// open returns how many leases a server has; none if it has left its pool.
func (s *drainClient) open(ctx context.Context, server string) (int, error) {
	answer, err := s.api.call(ctx, http.MethodGet, s.path(), nil)
	if err != nil {
		return 0, err
	}
	var pool struct {
		Servers []struct {
			ID       string `json:"id"`
			InFlight int    `json:"in_flight"`
		} `json:"servers"`
	}
	if err := json.Unmarshal(answer, &pool); err != nil {
		return 0, fmt.Errorf("the master's answer about pool %s: %w", s.pool, err)
	}
	for _, one := range pool.Servers {
		if one.ID == server {
			return one.InFlight, nil
		}
	}
	return 0, nil
}
