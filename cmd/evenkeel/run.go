package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/master"
	"github.com/evenkeel-lb/evenkeel/ui"
)

// runFlags are those of the run command.
type runFlags struct {
	listen   string
	servers  []string
	pool     string
	policy   string
	admin    adminFlags
	config   string
	insecure bool
	certs    certFlags
	access   accessFlag
	logs     logFlags
}

func runCommand(sink *logs.Sink) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --server http://HOST:PORT [--server …] | --config FILE",
		Short: "balance between servers: master and edge in one process",
		Long: `Run takes HTTP requests and gives each to the server that will finish it first. It
needs no file and no agent. A --server is http://host:port or https://host:port, followed if need be by
what is known of it: ,slots=8 (requests it works on at once) ,speed=2 (of one slot,
relative to the others) ,max_in_flight=1 (never more) ,id=NAME ,public=URL ,location=WORD.

Ctrl-C finishes what is open; SIGHUP reads the file anew.`,
		Example: `  evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001,slots=8,speed=2
  evenkeel run --listen 127.0.0.1:8080 --policy two-choices --server http://10.0.0.5
  evenkeel run --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRole(cmd, &f, func(s *settings.Settings) error { return startRun(cmd.Context(), s, &f, sink) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", settings.DefaultListen, "where clients connect, host:port")
	flags.StringArrayVar(&f.servers, "server", nil, "a server, http[s]://host:port[,key=value…]; repeat for each")
	flags.StringVar(&f.pool, "pool", "default", "name of the pool")
	flags.StringVar(&f.policy, "policy", "", "how to choose: "+settings.PolicyNames())
	f.admin.define(flags, "where the HTTP API and metrics are", settings.DefaultMasterAdmin)
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	flags.BoolVar(&f.insecure, "insecure", false, "allow the admin address and that for agents beyond loopback without certificates")
	addFlags(cmd, &f.certs, &f.access, &f.logs)
	completeWords(cmd, "policy", settings.Policies()...)
	completeConfig(cmd)
	return cmd
}

// settings reads the file, or makes of the flags what a file would say.
func (f *runFlags) settings(cmd *cobra.Command) (*settings.Settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "listen", "listen-cert", "listen-key", "server", "pool", "policy"); err != nil {
			return nil, err
		}
		return settings.ReadFor(settings.RoleRun, f.config)
	}
	if len(f.servers) == 0 {
		return nil, hint.Usagef("such as evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001", "run needs a --server or a --config")
	}
	pool := settings.Pool{Policy: f.policy}
	for _, flag := range f.servers {
		name, server, err := settings.ParseServer(flag)
		if err != nil {
			return nil, hint.Usagef("such as --server http://127.0.0.1:8000,slots=8", "%w", err)
		}
		if name != "" && name != f.pool {
			return nil, hint.Usagef("evenkeel run --config FILE serves several pools", "--server %q: run has one pool, %s, without a file", flag, f.pool)
		}
		pool.Servers = append(pool.Servers, server)
	}
	tls, err := f.certs.part()
	if err != nil {
		return nil, err
	}
	s := &settings.Settings{
		Pools: map[string]settings.Pool{f.pool: pool},
		Edge:  &settings.Edge{Listeners: []settings.Listener{{Listen: f.listen, TLS: tls, Routes: []settings.Route{{Pool: f.pool}}}}},
	}
	return s, s.Problems()
}

// startRun joins a master and an edge in this process and serves.
func startRun(ctx context.Context, s *settings.Settings, f *runFlags, sink *logs.Sink) error {
	st, err := f.logs.open(sink)
	if err != nil {
		return err
	}
	requests, logClient, err := f.access.logger(s.Edge.AccessLog, f.logs, sink)
	if err != nil {
		return err
	}
	began := s.RunStartupKeys()
	s.Master = cmp.Or(s.Master, &settings.Master{})
	mp := s.Master
	if err := st.authenticate(trust.Master, trustFlags{insecure: f.insecure}.over(mp.TLS, mp.Insecure), &mp.ID, "master.id"); err != nil {
		return err
	}
	if err := st.openAccess(f.admin.over(mp.AdminAccess)); err != nil {
		return err
	}
	m, err := st.openMaster(ctx, s, insideAddresses{wire: mp.Listen, admin: process.ChooseAdmin(f.admin.address, "master", mp.Admin, settings.DefaultMasterAdmin)})
	if err != nil {
		return err
	}
	restoreHandoff(m.Master, st.log)
	ec := s.EdgeConfig()
	ec.Inside = m.Inside()
	front, err := process.NewEdgeSupervisor(ctx, f.config, ec, s.Files, m.Edge(ec.ID), process.EdgeLogs{Log: st.log, Access: requests, LogClient: logClient})
	if err != nil {
		m.listeners.close()
		return err
	}
	wire, admin := m.listeners.wire, m.listeners.admin
	about := &process.Overview{Role: "run", Admin: st.access.URL(admin), Pages: append(slices.Clone(process.MasterPages), process.InnerEdgePages...)}
	about.Facts = append([]process.Fact{{Name: "requests", Values: process.ListenerURLs(ec.Listeners, front.Addresses(ec))}}, poolFacts(s)...)
	serving := []any{"role", "run", "id", cmp.Or(mp.ID, "master"), "listen", front.Addresses(ec), "admin", process.Address(admin), "pools", s.PoolNames()}
	if wire != nil {
		about.Facts = append(about.Facts, process.Fact{Name: "agents", Values: []string{process.Address(wire)}})
		serving = append(serving, "wire", process.Address(wire))
	}
	p := st.process(about, f.config, serving...)
	p.Settings = s
	p.Signer = signerOf(m.enrolment)
	p.InFlight, p.StopAccepting, p.Ready = front.InFlight, front.StopAccepting, front.Accepting()
	p.Admin = st.access.Surface(p, slices.Concat(m.Endpoints(), ui.Endpoints(), front.Endpoints("/edge")))
	p.Components = append([]process.Component{{Name: "edge", Run: front.Run}}, m.components(p)...)
	p.Sockets = func() []process.InheritedSocket { return append(front.Sockets(), m.listeners.sockets(m.at)...) }
	p.HandoffState = func() any { return m.HandoffServers() }
	st.reloads(p, began, func() (*settings.Settings, settings.StartupKeys, error) {
		return reloadRun(ctx, f.config, ec.ID, m.Master, front)
	})
	return p.Serve(ctx)
}

// restoreHandoff has the master begin with what the one knew from which this program takes over.
func restoreHandoff(m *master.Master, log *slog.Logger) {
	text, err := process.HandoffState()
	if text == nil && err == nil {
		return
	}
	var known []master.HandoffServer
	err = errors.Join(err, json.Unmarshal(text, &known), m.Restore(known))
	if err != nil {
		log.Warn("not all servers that the old program knew could be taken over; agents will register them again", "err", err)
	}
}

func reloadRun(ctx context.Context, path string, id balance.EdgeID, m *master.Master, front *process.EdgeSupervisor) (*settings.Settings, settings.StartupKeys, error) {
	s, err := settings.ReadFor(settings.RoleRun, path)
	if err != nil {
		return nil, nil, err
	}
	ec := s.EdgeConfig()
	ec.ID = id // the leases are in its name
	return s, s.RunStartupKeys(), front.Reload(ctx, ec, s.Files, func() error { return m.Reload(s.MasterConfig()) })
}

// poolFacts returns for each pool which servers it has from the file or the flags.
func poolFacts(s *settings.Settings) (facts []process.Fact) {
	for _, name := range s.PoolNames() {
		p := s.Pools[name]
		f := process.Fact{Name: "pool " + name, Servers: true, Resolvers: s.ResolversOf(&p)}
		for _, server := range p.Servers {
			f.Values = append(f.Values, server.Address)
		}
		if f.Values == nil {
			f.Values, f.Servers = []string{"servers join through agents"}, false
		}
		facts = append(facts, f)
	}
	return facts
}
