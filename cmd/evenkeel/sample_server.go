package main

import (
	"context"
	"fmt"
	"os"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/sample"
)

// sampleFlags are those of the sample-server command.
type sampleFlags struct {
	listen string
	record string
	logs   logFlags
	cfg    sample.Config
}

func sampleServerCommand(sink *logs.Sink) *cobra.Command {
	var f sampleFlags
	cmd := &cobra.Command{
		Use:   "sample-server",
		Short: "a server that simulates work, to try the load balancer with",
		Long: `Sample-server answers every request when a model says that a server of so many slots
and such a speed would be done with it. It burns no CPU. The work of a request is told in
seconds at speed 1, by the header Sample-Work or the query parameter work.
Its load is in the header endpoint-load-metrics of each answer. An answer proves whose it is:
Sample-Echo has the request's X-Request-Id, and the length and digest of the body received;
Sample-Fill asks for so many bytes. It speaks HTTP/1.1, HTTP/2 without TLS, and WebSockets,
which echo.

Beside that: POST /dispatch is a hook for agents, POST /load {"in_flight": n} makes it
busier, GET /record tells what has happened to it, GET /metrics and /healthz its state.`,
		Example: `  evenkeel sample-server --listen 127.0.0.1:8000 --slots 4
  curl '127.0.0.1:8000/render?work=0.1'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return startSampleServer(cmd.Context(), &f, sink)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8000", "where clients reach it, host:port or unix:/path")
	flags.StringVar(&f.cfg.ID, "id", "", "what it calls itself in the header Evenkeel-Server (default its address)")
	flags.StringVar(&f.cfg.Model, "model", sample.PS, "ps: beyond its slots all requests slow down; fcfs: they wait")
	flags.IntVar(&f.cfg.Slots, "slots", 1, "how many requests it works on at full speed")
	flags.Float64Var(&f.cfg.Speed, "speed", 1, "seconds of work done in a second by each slot")
	flags.StringVar(&f.cfg.Agent, "agent", "", "base URL of an agent's API to report the load to (default none)")
	flags.BoolVar(&f.cfg.Refuse, "refuse-dispatch", false, "refuse every dispatch")
	flags.StringVar(&f.record, "record", "", "a file to which each event of /record is appended as a line of JSON")
	f.logs.add(cmd)
	completeWords(cmd, "model", sample.PS, sample.FCFS)
	return cmd
}

func startSampleServer(ctx context.Context, f *sampleFlags, sink *logs.Sink) error {
	log, _, err := f.logs.logger(sink)
	if err != nil {
		return err
	}
	f.cfg.Log = log
	if f.cfg.Slots == 0 || f.cfg.Speed == 0 {
		err = hint.Usagef("such as --slots 4 --speed 1.5", "--slots %d --speed %v: want more than 0", f.cfg.Slots, f.cfg.Speed)
	}
	f.cfg.Validate(func(flag, problem string) { err = hint.Usage(fmt.Errorf("--%s %s", flag, problem)) })
	if err != nil {
		return err
	}
	if f.record != "" {
		out, err := os.OpenFile(f.record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return hint.With(fmt.Errorf("--record: %w", err), "its folder must be there")
		}
		defer out.Close()
		f.cfg.Record = out
	}
	l, err := process.Listen(ctx, f.listen)
	if err != nil {
		return process.ForKey("--listen", err)
	}
	if f.cfg.ID == "" {
		f.cfg.ID = l.Addr().String()
	}
	s := sample.New(f.cfg)
	p := &process.Process{Log: log, Console: f.logs.consoleOn(sink), Components: []process.Component{
		{Name: "http", Run: func(ctx context.Context) error { return process.ServeHTTP1And2(ctx, l, s.Handler(), log) }},
		{Name: "model", Run: s.Run},
	}}
	p.Serving = []any{"role", "sample-server", "id", f.cfg.ID, "listen", l.Addr().String(), "model", f.cfg.Model, "slots", f.cfg.Slots, "speed", f.cfg.Speed}
	return p.Serve(ctx)
}
