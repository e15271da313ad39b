package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// edgeFlags are those of the edge command.
type edgeFlags struct {
	masters []string
	listen  string
	routes  []string
	pool    string
	link    string
	admin   adminFlags
	id      string
	config  string
	trust   trustFlags
	certs   certFlags
	access  accessFlag
	logs    logFlags
}

func edgeCommand(sink *logs.Sink) *cobra.Command {
	var f edgeFlags
	cmd := &cobra.Command{
		Use:   "edge --pool NAME | --route HOST/PATH=POOL | --config FILE",
		Short: "take requests, ask a master, link clients with servers",
		Long: `Edge takes HTTP requests, asks the master for a server for each, and routes it there
or redirects the client. While no master answers it goes on with what it last knew.`,
		Example: `  evenkeel edge --pool render --master 127.0.0.1:7400
  evenkeel edge --route render.example/v1=render --route /=web --listen :80
  evenkeel edge --pool downloads --link redirect
  evenkeel edge --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return s.hiding(startEdge(cmd.Context(), s, &f, sink))
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.masters, "master", nil, "a master, host:port or unix:/path; repeat for each (default "+defaultWire+")")
	flags.StringVar(&f.listen, "listen", defaultListen, "where clients connect, host:port")
	flags.StringArrayVar(&f.routes, "route", nil, "which requests go to which pool, [host][/path]=pool; repeat for each")
	flags.StringVar(&f.pool, "pool", "", "the pool that all other requests go to")
	flags.StringVar(&f.link, "link", "route", "how clients reach servers: route, or redirect")
	f.admin.add(flags, "where metrics and health are", defaultEdgeAdmin)
	flags.StringVar(&f.id, "id", "", "what the edge is called to its master (default HOSTNAME-PORT)")
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	f.trust.add(flags)
	f.certs.add(cmd)
	f.access.add(cmd)
	f.logs.add(cmd)
	return cmd
}

func (f *edgeFlags) settings(cmd *cobra.Command) (*settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "listen", "listen-cert", "listen-key", "route", "pool", "link"); err != nil {
			return nil, err
		}
		s, err := readEdge(f.config)
		if err == nil && f.id != "" {
			s.Edge.ID = f.id
		}
		if err == nil && len(f.masters) > 0 {
			s.Edge.Masters = f.masters
		}
		return s, err
	}
	var link linkWord
	if err := link.UnmarshalText([]byte(f.link)); err != nil {
		return nil, usagef("a redirected client talks to the server's public address itself", "--link %q: %w", f.link, err)
	}
	routes, err := f.routeParts(link)
	if err != nil {
		return nil, err
	}
	tls, err := f.certs.part()
	if err != nil {
		return nil, err
	}
	s := &settings{Edge: &edgePart{ID: f.id, Masters: f.masters, Listeners: []listenerPart{{Listen: f.listen, TLS: tls, Routes: routes}}}}
	return s, s.problems()
}

func (f *edgeFlags) routeParts(link linkWord) ([]routePart, error) {
	var routes []routePart
	for _, flag := range f.routes {
		r, err := parseRoute(flag)
		if err != nil {
			return nil, usageError{err}
		}
		r.Link = link
		routes = append(routes, r)
	}
	if f.pool != "" {
		routes = append(routes, routePart{Pool: f.pool, Link: link})
	}
	if len(routes) == 0 {
		return nil, usagef("such as evenkeel edge --pool web --master "+defaultWire, "edge needs a --pool, a --route or a --config")
	}
	return routes, nil
}

// readEdge reads a file that has what an edge needs.
func readEdge(path string) (*settings, error) {
	s, err := readSettings(path)
	if err == nil && s.Edge == nil {
		err = lacks(path, "edge", "edge: { masters: ["+defaultWire+"], listeners: [{ listen: :8080, routes: [{ pool: web }] }] }")
	}
	return s, err
}

func startEdge(ctx context.Context, s *settings, f *edgeFlags, sink *logs.Sink) error {
	log, err := f.logs.logger(sink)
	if err != nil {
		return err
	}
	requests, err := f.access.logger(f.logs, sink)
	if err != nil {
		return err
	}
	began, failing := s.ofEdgeAtStart(), new(reloads)
	safe := f.trust.over(s.Edge.TLS, s.Edge.Insecure)
	keeper, err := safe.open(trust.Edge, log)
	if err != nil {
		return err
	}
	if err := safe.refusePlain(s.Edge.masters()); err != nil {
		return err
	}
	if s.Edge.ID, err = nameBy(keeper, s.Edge.ID, "edge.id"); err != nil {
		return err
	}
	access, err := f.admin.over(s.Edge.AdminAccess).open(log)
	if err != nil {
		return err
	}
	ec := s.edgeConfig()
	ec.Inside = new(inside.Set)
	c, err := client.NewMasters(client.Config{Masters: s.Edge.masters(), ID: nameAmongHeirs(ec.ID), Trust: keeper, Pools: s.Edge.pools(), Log: log, Software: "evenkeel " + version(), Inside: ec.Inside})
	if err != nil {
		return err
	}
	for _, at := range s.Edge.masters() {
		ec.Inside.Add(at)
	}
	front, err := newEdges(ctx, ec, s.keys, c, edgeLogs{log, requests, sink.Dropped, failing.failed})
	if err != nil {
		return err
	}
	adminAt := chooseAdmin(f.admin.address, s.Edge.Admin, defaultEdgeAdmin)
	front.watch = c.SetPools
	admin, err := adminAt.listen(ctx, access.secure() || safe.insecure, log)
	if err != nil {
		front.closeSockets()
		return err
	}
	ec.Inside.AddOwn(admin)
	about := &welcome{role: "edge", admin: access.url(admin)}
	about.facts = []fact{{name: "requests", values: frontURLs(ec.Listeners, front.addresses(ec))}, {name: "masters", values: s.Edge.masters(), servers: true}}
	p := &process{welcome: about, log: log, console: f.logs.consoleOn(sink), trust: keeper, draining: front.inFlight, yield: front.yield, ready: front.accepting(), access: access, file: f.config, parts: []part{{name: "edge", run: front.run}}}
	p.admin = access.surface(p, front.endpoints(""))
	p.parts = append(p.parts, access.parts(p, admin, true, "it is an edge's, which asks the master at "+strings.Join(s.Edge.masters(), ", "))...)
	p.sockets = func() []heirloom { return append(front.open(), heirloom{adminAt.address, admin}) }
	if admin == nil {
		p.sockets = func() []heirloom { return front.open() }
	}
	p.parts = append(append(p.parts, part{name: "client", run: c.Run}), guardParts(keeper)...)
	if f.config != "" {
		p.atStart, p.reloads = began, failing
		p.reload = func() (atStart, error) { return reloadEdge(ctx, f, s.Edge, front) }
	}
	p.serving = []any{"role", "edge", "listen", front.addresses(ec), "admin", address(admin), "edge", ec.ID, "masters", s.Edge.masters()}
	return p.serve(ctx)
}

// nameAmongHeirs is what an edge is called to its master. One that has taken over from
// another has leases of its own while that one drains, so it needs a name of its own.
func nameAmongHeirs(id balance.EdgeID) balance.EdgeID {
	if n := generation(); n > 0 {
		return balance.EdgeID(fmt.Sprintf("%s%s%d", id, trust.Heir, n))
	}
	return id
}

// reloadEdge takes up listeners, routes, also to new pools, and times. The connections to the
// masters were opened with an id, so that and the masters stay until a restart.
func reloadEdge(ctx context.Context, f *edgeFlags, old *edgePart, front *edges) (atStart, error) {
	s, err := readEdge(f.config)
	if err != nil {
		return nil, err
	}
	s.Edge.ID = cmp.Or(f.id, s.Edge.ID, old.ID)
	if len(f.masters) > 0 {
		s.Edge.Masters = f.masters
	}
	if s.Edge.ID != old.ID || !slices.Equal(s.Edge.masters(), old.masters()) {
		return nil, errors.New("the edge's id or its masters have changed: SIGUSR2 has a new program take that up without losing a request, or restart it")
	}
	return s.ofEdgeAtStart(), front.reload(ctx, s.edgeConfig(), s.keys, func() error { return nil })
}
