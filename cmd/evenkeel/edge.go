package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/version"

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
		Short: "take requests, ask a master for a server for each, and forward them",
		Long: `Edge takes HTTP requests, asks the master for a server for each, and routes it there
or redirects the client. While no master answers it chooses by itself, from the last snapshot.`,
		Example: `  evenkeel edge --pool render --master 127.0.0.1:7400
  evenkeel edge --route render.example/v1=render --route /=web --listen :80
  evenkeel edge --pool downloads --link redirect
  evenkeel edge --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRole(cmd, &f, func(s *settings.Settings) error { return startEdge(cmd.Context(), s, &f, sink) })
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.masters, "master", nil, "a master, host:port or unix:/path; repeat for each (default "+settings.DefaultWire+")")
	flags.StringVar(&f.listen, "listen", settings.DefaultListen, "where clients connect, host:port")
	flags.StringArrayVar(&f.routes, "route", nil, "which requests go to which pool, [host][/path]=pool; repeat for each")
	flags.StringVar(&f.pool, "pool", "", "the pool that all other requests go to")
	flags.StringVar(&f.link, "link", "route", "how clients reach servers: route, or redirect")
	f.admin.define(flags, "where metrics and health are", settings.DefaultEdgeAdmin)
	flags.StringVar(&f.id, "id", "", "the edge's id, by which masters know it (default HOSTNAME-PORT)")
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	addFlags(cmd, &f.trust, &f.certs, &f.access, &f.logs)
	completeWords(cmd, "link", "route", "redirect")
	completeLocalPool(cmd, "pool")
	completeRoutePool(cmd, "route")
	completeConfig(cmd)
	return cmd
}

func (f *edgeFlags) settings(cmd *cobra.Command) (*settings.Settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "listen", "listen-cert", "listen-key", "route", "pool", "link"); err != nil {
			return nil, err
		}
		s, err := settings.ReadFor(settings.RoleEdge, f.config)
		if err == nil && f.id != "" {
			s.Edge.ID = f.id
		}
		if err == nil && len(f.masters) > 0 {
			s.Edge.Masters = f.masters
		}
		return s, err
	}
	var link settings.Link
	if err := link.UnmarshalText([]byte(f.link)); err != nil {
		return nil, hint.Usagef("a redirected client talks to the server's public address itself", "--link %q: %w", f.link, err)
	}
	routes, err := f.routeParts(link)
	if err != nil {
		return nil, err
	}
	tls, err := f.certs.part()
	if err != nil {
		return nil, err
	}
	s := &settings.Settings{Edge: &settings.Edge{ID: f.id, Masters: f.masters, Listeners: []settings.Listener{{Listen: f.listen, TLS: tls, Routes: routes}}}}
	return s, s.Problems()
}

func (f *edgeFlags) routeParts(link settings.Link) ([]settings.Route, error) {
	var routes []settings.Route
	for _, flag := range f.routes {
		r, err := settings.ParseRoute(flag)
		if err != nil {
			return nil, hint.Usage(err)
		}
		r.Link = link
		routes = append(routes, r)
	}
	if f.pool != "" {
		routes = append(routes, settings.Route{Pool: f.pool, Link: link})
	}
	if len(routes) == 0 {
		return nil, hint.Usagef("such as evenkeel edge --pool web --master "+settings.DefaultWire, "edge needs a --pool, a --route or a --config")
	}
	return routes, nil
}

func startEdge(ctx context.Context, s *settings.Settings, f *edgeFlags, sink *logs.Sink) error {
	st, err := f.logs.open(sink)
	if err != nil {
		return err
	}
	requests, logClient, err := f.access.logger(s.Edge.AccessLog, f.logs, sink)
	if err != nil {
		return err
	}
	began, masters := s.EdgeStartupKeys(), s.Edge.MasterAddresses()
	safe := f.trust.over(s.Edge.TLS, s.Edge.Insecure)
	if err := st.authenticate(trust.Edge, safe, &s.Edge.ID, "edge.id"); err != nil {
		return err
	}
	if err := safe.refusePlain(masters); err != nil {
		return err
	}
	if err := st.openAccess(f.admin.over(s.Edge.AdminAccess)); err != nil {
		return err
	}
	ec := s.EdgeConfig()
	ec.Inside = new(inside.Set)
	c, err := client.NewMasters(client.Config{Masters: masters, ID: successorID(ec.ID), Trust: st.keeper, Pools: s.Edge.PoolNames(), Log: st.log, Software: "evenkeel " + version.String(), Inside: ec.Inside})
	if err != nil {
		return err
	}
	for _, at := range masters {
		ec.Inside.Add(at)
	}
	front, err := process.NewEdgeSupervisor(ctx, f.config, ec, s.Files, c, process.EdgeLogs{Log: st.log, Access: requests, LogClient: logClient, Dropped: st.dropped, ReloadFailed: st.failing.Failure})
	if err != nil {
		return err
	}
	front.Watch = c.SetPools
	adminAt := process.ChooseAdmin(f.admin.address, "edge", s.Edge.Admin, settings.DefaultEdgeAdmin)
	admin, err := adminAt.Listen(ctx, st.access.Secure() || st.insecure, st.log)
	if err != nil {
		front.CloseSockets()
		return err
	}
	ec.Inside.AddOwn(admin)
	about := &process.Overview{Role: "edge", Admin: st.access.URL(admin)}
	about.Facts = []process.Fact{{Name: "requests", Values: process.ListenerURLs(ec.Listeners, front.Addresses(ec))}, {Name: "masters", Values: masters, Servers: true}}
	p := st.process(about, f.config, "role", "edge", "listen", front.Addresses(ec), "admin", process.Address(admin), "edge", ec.ID, "masters", masters)
	p.Settings = s
	p.InFlight, p.StopAccepting, p.Ready = front.InFlight, front.StopAccepting, front.Accepting()
	p.Admin = st.access.Surface(p, front.Endpoints(""))
	p.Components = slices.Concat([]process.Component{{Name: "edge", Run: front.Run}},
		st.access.Components(p, admin, true, "it is an edge's, which asks the master at "+strings.Join(masters, ", ")),
		[]process.Component{{Name: "client", Run: c.Run}}, certificateComponents(st.keeper))
	p.Sockets = func() []process.InheritedSocket {
		return append(front.Sockets(), insideListeners{admin: admin}.sockets(insideAddresses{admin: adminAt})...)
	}
	st.reloads(p, began, func() (*settings.Settings, settings.StartupKeys, error) { return reloadEdge(ctx, f, s.Edge, front) })
	return p.Serve(ctx)
}

// successorID is what an edge is called to its master. One that has taken over from
// another has leases of its own while that one drains, so it needs a name of its own.
func successorID(id balance.EdgeID) balance.EdgeID {
	if n := process.Generation(); n > 0 {
		return balance.EdgeID(fmt.Sprintf("%s%s%d", id, trust.Heir, n))
	}
	return id
}

// reloadEdge takes up listeners, routes, also to new pools, and times. The connections to the
// masters were opened with an id, so that and the masters stay until a restart.
func reloadEdge(ctx context.Context, f *edgeFlags, old *settings.Edge, front *process.EdgeSupervisor) (*settings.Settings, settings.StartupKeys, error) {
	s, err := settings.ReadFor(settings.RoleEdge, f.config)
	if err != nil {
		return nil, nil, err
	}
	s.Edge.ID = cmp.Or(f.id, s.Edge.ID, old.ID)
	if len(f.masters) > 0 {
		s.Edge.Masters = f.masters
	}
	if s.Edge.ID != old.ID || !slices.Equal(s.Edge.MasterAddresses(), old.MasterAddresses()) {
		return nil, nil, errors.New("the edge's id or its masters have changed, which a reload cannot apply: SIGUSR2 starts a new program without losing a request, or restart the edge")
	}
	return s, s.EdgeStartupKeys(), front.Reload(ctx, s.EdgeConfig(), s.Files, func() error { return nil })
}
