package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/master"
	"github.com/evenkeel-lb/evenkeel/ui"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// masterFlags are those of the master command.
type masterFlags struct {
	listen    string
	admin     adminFlags
	id        string
	pools     []string
	servers   []string
	openPools bool
	config    string
	trust     trustFlags
	logs      logFlags
}

func masterCommand(sink *logs.Sink) *cobra.Command {
	var f masterFlags
	cmd := &cobra.Command{
		Use:   "master --pool NAME | --config FILE",
		Short: "choose servers for all edges, by the load of every server",
		Long: `Master chooses a server for each request of its edges. Servers are named by flags
or the file, or join through agents.`,
		Example: `  evenkeel master --pool render --pool web=round-robin
  evenkeel master --pool render --server http://10.0.0.5:8000,pool=render
  evenkeel master --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRole(cmd, &f, func(s *settings.Settings) error { return startMaster(cmd.Context(), s, &f, sink) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "where edges and agents connect, host:port or unix:/path (default "+settings.DefaultWire+")")
	f.admin.define(flags, "where the HTTP API and metrics are", settings.DefaultMasterAdmin)
	flags.StringVar(&f.id, "id", "", "the master's id, by which edges and logs know it")
	flags.StringArrayVar(&f.pools, "pool", nil, "a pool, NAME[=policy]; repeat for each. Policies: "+settings.PolicyNames())
	flags.StringArrayVar(&f.servers, "server", nil, "a server, http[s]://host:port[,pool=NAME][,key=value…]; repeat for each")
	flags.BoolVar(&f.openPools, "open-pools", false, "let agents open pools that are not named here")
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	addFlags(cmd, &f.trust, &f.logs)
	completePoolPolicy(cmd, "pool")
	completeConfig(cmd)
	return cmd
}

func (f *masterFlags) settings(cmd *cobra.Command) (*settings.Settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "id", "pool", "server", "open-pools"); err != nil {
			return nil, err
		}
		return settings.ReadFor(settings.RoleMaster, f.config)
	}
	s := &settings.Settings{Master: &settings.Master{ID: f.id, OpenPools: f.openPools}, Pools: make(map[string]settings.Pool)}
	var names []string
	for _, flag := range f.pools {
		name, how, _ := strings.Cut(flag, "=")
		if slices.Contains(names, name) {
			return nil, hint.Usagef("name each pool once", "--pool %s stands twice", name)
		}
		names = append(names, name)
		s.Pools[name] = settings.Pool{Policy: how}
	}
	if err := f.addServers(s, names); err != nil {
		return nil, err
	}
	if len(s.Pools) == 0 && !f.openPools {
		return nil, hint.Usagef("such as evenkeel master --pool web; --open-pools lets agents name them", "master needs a --pool, a --server or a --config")
	}
	return s, s.Problems()
}

// addServers puts the --server flags into their pools: the one they name, or the only one there is.
func (f *masterFlags) addServers(s *settings.Settings, names []string) error {
	for _, flag := range f.servers {
		name, server, err := settings.ParseServer(flag)
		if err != nil {
			return hint.Usagef("such as --server http://127.0.0.1:8000,pool=web,slots=8", "%w", err)
		}
		if name == "" && len(names) > 1 {
			return hint.Usagef("append ,pool="+names[0], "--server %q: which of the pools %s?", flag, strings.Join(names, ", "))
		}
		if name == "" {
			name = cmp.Or(append(names, "default")[0])
		}
		pool := s.Pools[name]
		pool.Servers = append(pool.Servers, server)
		s.Pools[name] = pool
	}
	return nil
}

func startMaster(ctx context.Context, s *settings.Settings, f *masterFlags, sink *logs.Sink) error {
	st, err := f.logs.open(sink)
	if err != nil {
		return err
	}
	began := s.MasterStartupKeys()
	s.Master = cmp.Or(s.Master, &settings.Master{})
	mp := s.Master
	if err := st.authenticate(trust.Master, f.trust.over(mp.TLS, mp.Insecure), &mp.ID, "master.id"); err != nil {
		return err
	}
	at := insideAddresses{wire: cmp.Or(f.listen, mp.Listen, settings.DefaultWire), admin: process.ChooseAdmin(f.admin.address, "master", mp.Admin, settings.DefaultMasterAdmin)}
	if f.listen != "" || mp.Listen == "" {
		at.wireKey = "--listen"
	}
	if mp.Election != nil && mp.ID == "" {
		mp.ID = settings.HostAndPort(at.wire) // several masters need several names
	}
	if err := st.openAccess(f.admin.over(mp.AdminAccess)); err != nil {
		return err
	}
	m, err := st.openMaster(ctx, s, at)
	if err != nil {
		return err
	}
	wire, admin := process.Address(m.listeners.wire), process.Address(m.listeners.admin)
	about := &process.Overview{Role: "master", Admin: st.access.URL(m.listeners.admin), Pages: process.MasterPages}
	about.Facts = append([]process.Fact{{Name: "edges, agents", Values: []string{wire}}}, poolFacts(s)...)
	p := st.process(about, f.config, "role", "master", "id", cmp.Or(mp.ID, "master"), "listen", wire, "admin", admin, "pools", s.PoolNames())
	p.Settings = s
	p.Signer = signerOf(m.enrolment)
	p.Admin = st.access.Surface(p, append(m.Endpoints(), ui.Endpoints()...))
	p.Components = m.components(p)
	st.reloads(p, began, func() (*settings.Settings, settings.StartupKeys, error) { return reloadMaster(f.config, m.Master) })
	return p.Serve(ctx)
}

func reloadMaster(path string, m *master.Master) (*settings.Settings, settings.StartupKeys, error) {
	s, err := settings.ReadFor(settings.RoleMaster, path)
	if err != nil {
		return nil, nil, err
	}
	return s, s.MasterStartupKeys(), m.Reload(s.MasterConfig())
}
