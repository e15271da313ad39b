package main

import (
	"context"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/demo"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// proxyFlags are those of the sample-proxy command.
type proxyFlags struct {
	listen  string
	servers []string
	logs    logFlags
}

func sampleProxyCommand(sink *logs.Sink) *cobra.Command {
	var f proxyFlags
	cmd := &cobra.Command{
		Use:   "sample-proxy",
		Short: "a small least-connections proxy, to compare with",
		Long: `Sample-proxy forwards each request to the server with the fewest open requests, by its
own count only. The demo uses several of them as what people have today.`,
		Hidden: true, // only the demo uses it
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return startSampleProxy(cmd.Context(), &f, sink)
		},
	}
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8080", "where clients reach it, host:port or unix:/path")
	cmd.Flags().StringArrayVar(&f.servers, "server", nil, "a server, host:port; repeat for each")
	f.logs.add(cmd)
	return cmd
}

func startSampleProxy(ctx context.Context, f *proxyFlags, sink *logs.Sink) error {
	log, _, err := f.logs.logger(sink)
	if err != nil {
		return err
	}
	if len(f.servers) == 0 {
		return hint.Usagef("such as --server 127.0.0.1:8000", "sample-proxy needs a --server")
	}
	l, err := process.Listen(ctx, f.listen)
	if err != nil {
		return process.ForKey("--listen", err)
	}
	proxy := demo.NewLeastConn(f.servers)
	p := &process.Process{Log: log, Console: f.logs.consoleOn(sink), Components: []process.Component{
		{Name: "http", Run: func(ctx context.Context) error { return process.ServeHTTP(ctx, l, proxy, log) }},
	}}
	p.Serving = []any{"role", "sample-proxy", "listen", l.Addr().String(), "servers", len(f.servers)}
	return p.Serve(ctx)
}
