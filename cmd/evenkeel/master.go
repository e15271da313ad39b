package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/policy"
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
		Short: "know every server's load and choose for all edges",
		Long: `Master tells edges, for each request, which server shall do it. Servers are named
by flags or the file, or join through agents.`,
		Example: `  evenkeel master --pool render --pool web=round-robin
  evenkeel master --pool render --server http://10.0.0.5:8000,pool=render
  evenkeel master --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return s.hiding(startMaster(cmd.Context(), s, &f, sink))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "where edges and agents connect, host:port or unix:/path (default "+defaultWire+")")
	f.admin.add(flags, "where the HTTP API and metrics are", defaultMasterAdmin)
	flags.StringVar(&f.id, "id", "", "what the master is called in logs and to edges")
	flags.StringArrayVar(&f.pools, "pool", nil, "a pool, NAME[=policy]; repeat for each. Policies: "+policyNames())
	flags.StringArrayVar(&f.servers, "server", nil, "a server, http[s]://host:port[,pool=NAME][,key=value…]; repeat for each")
	flags.BoolVar(&f.openPools, "open-pools", false, "let agents open pools that are not named here")
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	f.trust.add(flags)
	f.logs.add(cmd)
	return cmd
}

func (f *masterFlags) settings(cmd *cobra.Command) (*settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "id", "pool", "server", "open-pools"); err != nil {
			return nil, err
		}
		return readMaster(f.config)
	}
	s := &settings{Master: &masterPart{ID: f.id, OpenPools: f.openPools}, Pools: make(map[string]poolPart)}
	var names []string
	for _, flag := range f.pools {
		name, how, _ := strings.Cut(flag, "=")
		if slices.Contains(names, name) {
			return nil, usagef("name each pool once", "--pool %s stands twice", name)
		}
		names = append(names, name)
		s.Pools[name] = poolPart{Policy: how}
	}
	if err := f.addServers(s, names); err != nil {
		return nil, err
	}
	if len(s.Pools) == 0 && !f.openPools {
		return nil, usagef("such as evenkeel master --pool web; --open-pools lets agents name them", "master needs a --pool, a --server or a --config")
	}
	return s, s.problems()
}

// addServers puts the --server flags into their pools: the one they name, or the only one there is.
func (f *masterFlags) addServers(s *settings, names []string) error {
	for _, flag := range f.servers {
		name, server, err := parseServer(flag)
		if err != nil {
			return usagef("such as --server http://127.0.0.1:8000,pool=web,slots=8", "%w", err)
		}
		if name == "" && len(names) > 1 {
			return usagef("append ,pool="+names[0], "--server %q: which of the pools %s?", flag, strings.Join(names, ", "))
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

// readMaster reads a file that has what a master needs.
func readMaster(path string) (*settings, error) {
	s, err := readSettings(path)
	if err == nil && s.Master == nil && len(s.Pools) == 0 {
		err = lacks(path, "master", "master: { listen: "+defaultWire+" }")
	}
	return s, err
}

func startMaster(ctx context.Context, s *settings, f *masterFlags, sink *logs.Sink) error {
	log, err := f.logs.logger(sink)
	if err != nil {
		return err
	}
	began, failing := s.ofMasterAtStart(), new(reloads)
	mp := cmp.Or(s.Master, &masterPart{})
	safe := f.trust.over(mp.TLS, mp.Insecure)
	keeper, err := safe.open(trust.Master, log)
	if err != nil {
		return err
	}
	if mp.ID, err = nameBy(keeper, mp.ID, "master.id"); err != nil {
		return err
	}
	s.Master = mp
	wire := cmp.Or(f.listen, mp.Listen, defaultWire)
	if mp.Election != nil && mp.ID == "" {
		mp.ID = thisHost(wire) // several masters need several names
	}
	access, err := f.admin.over(mp.AdminAccess).open(log)
	if err != nil {
		return err
	}
	at := insideAddresses{wire: wire, admin: chooseAdmin(f.admin.address, mp.Admin, defaultMasterAdmin), proven: keeper != nil, adminProven: access.secure(), insecure: safe.insecure}
	inside, err := openInside(ctx, at, log)
	if err != nil {
		return err
	}
	election, err := mp.Election.open(mp.ID, address(inside.wire))
	if err != nil {
		inside.close()
		return err
	}
	enrolment, err := mp.Enrol.open(keeper, election.shared(), access.audit, log)
	if err != nil {
		inside.close()
		return err
	}
	m, err := newMaster(s, keeper, enrolment, inside, failing, log, sink)
	if err != nil {
		inside.close()
		return err
	}
	about := &welcome{role: "master", admin: access.url(inside.admin), paths: masterPaths}
	about.facts = append([]fact{{name: "edges, agents", values: []string{address(inside.wire)}}}, s.poolFacts()...)
	p := &process{welcome: about, log: log, console: f.logs.consoleOn(sink), trust: keeper, signer: signerOf(enrolment), access: access, file: f.config}
	p.admin = access.surface(p, m.Endpoints())
	p.parts = slices.Concat(election.stand(m, log), masterParts(m, inside, p), guardParts(keeper), enrolParts(enrolment))
	if f.config != "" {
		p.atStart, p.reloads = began, failing
		p.reload = func() (atStart, error) {
			s, err := readMaster(f.config)
			if err != nil {
				return nil, err
			}
			return s.ofMasterAtStart(), m.Reload(s.masterConfig())
		}
	}
	p.serving = []any{"role", "master", "id", cmp.Or(mp.ID, "master"), "listen", address(inside.wire), "admin", address(inside.admin), "pools", s.poolNames()}
	return p.serve(ctx)
}

func policyNames() string { return strings.Join(policies(), ", ") }

func policies() (names []string) {
	for _, row := range policy.Table {
		names = append(names, row.Name)
	}
	return names
}
