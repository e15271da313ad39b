package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/master"
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
relative to the others) ,id=NAME ,public=URL ,location=WORD.

Ctrl-C finishes what is open; SIGHUP reads the file anew.`,
		Example: `  evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001,slots=8,speed=2
  evenkeel run --listen 127.0.0.1:8080 --policy two-choices --server http://10.0.0.5
  evenkeel run --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return s.hiding(startRun(cmd.Context(), s, &f, sink))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", defaultListen, "where clients connect, host:port")
	flags.StringArrayVar(&f.servers, "server", nil, "a server, http[s]://host:port[,key=value…]; repeat for each")
	flags.StringVar(&f.pool, "pool", "default", "name of the pool")
	flags.StringVar(&f.policy, "policy", "", "how to choose: "+policyNames())
	f.admin.add(flags, "where the HTTP API and metrics are", defaultMasterAdmin)
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	flags.BoolVar(&f.insecure, "insecure", false, "let admin and agents' addresses be beyond loopback without certificates")
	f.certs.add(cmd)
	f.access.add(cmd)
	f.logs.add(cmd)
	return cmd
}

// settings reads the file, or makes of the flags what a file would say.
func (f *runFlags) settings(cmd *cobra.Command) (*settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "listen", "listen-cert", "listen-key", "server", "pool", "policy"); err != nil {
			return nil, err
		}
		return readRun(f.config)
	}
	if len(f.servers) == 0 {
		return nil, usagef("such as evenkeel run --server http://127.0.0.1:8000 --server http://127.0.0.1:8001", "run needs a --server or a --config")
	}
	pool := poolPart{Policy: f.policy}
	for _, flag := range f.servers {
		name, server, err := parseServer(flag)
		if err != nil {
			return nil, usagef("such as --server http://127.0.0.1:8000,slots=8", "%w", err)
		}
		if name != "" && name != f.pool {
			return nil, usagef("evenkeel run --config FILE serves several pools", "--server %q: run has one pool, %s, without a file", flag, f.pool)
		}
		pool.Servers = append(pool.Servers, server)
	}
	tls, err := f.certs.part()
	if err != nil {
		return nil, err
	}
	s := &settings{
		Pools: map[string]poolPart{f.pool: pool},
		Edge:  &edgePart{Listeners: []listenerPart{{Listen: f.listen, TLS: tls, Routes: []routePart{{Pool: f.pool}}}}},
	}
	return s, s.problems()
}

// readRun reads a file that has what run needs.
func readRun(path string) (*settings, error) {
	s, err := readSettings(path)
	switch {
	case err != nil:
		return nil, err
	case s.Edge == nil:
		return nil, lacks(path, "edge", "edge: { listeners: [{ listen: :8080, routes: [{ pool: web }] }] }")
	case s.Master != nil && s.Master.Election != nil:
		return nil, hinted(fmt.Errorf("%s has master.election, but run is a master of its own process", path), "start evenkeel master and evenkeel edge instead")
	case len(s.Pools) == 0 && (s.Master == nil || !s.Master.OpenPools):
		return nil, lacks(path, "pools", "pools: { web: { servers: [{ address: 127.0.0.1:8000 }] } }")
	}
	return s, nil
}

// startRun joins a master and an edge in this process and serves.
func startRun(ctx context.Context, s *settings, f *runFlags, sink *logs.Sink) error {
	log, err := f.logs.logger(sink)
	if err != nil {
		return err
	}
	requests, err := f.access.logger(f.logs, sink)
	if err != nil {
		return err
	}
	began, failing := s.ofRunAtStart(), new(reloads)
	mp := cmp.Or(s.Master, &masterPart{})
	safe := trustFlags{insecure: f.insecure}.over(mp.TLS, mp.Insecure)
	keeper, err := safe.open(trust.Master, log)
	if err != nil {
		return err
	}
	if mp.ID, err = nameBy(keeper, mp.ID, "master.id"); err != nil {
		return err
	}
	s.Master = mp
	access, err := f.admin.over(mp.AdminAccess).open(log)
	if err != nil {
		return err
	}
	at := insideAddresses{wire: mp.Listen, admin: chooseAdmin(f.admin.address, mp.Admin, defaultMasterAdmin), proven: keeper != nil, adminProven: access.secure(), insecure: safe.insecure}
	inside, err := openInside(ctx, at, log)
	if err != nil {
		return err
	}
	enrolment, err := mp.Enrol.open(keeper, nil, access.audit, log)
	if err != nil {
		inside.close()
		return err
	}
	m, err := newMaster(s, keeper, enrolment, inside, failing, log, sink)
	if err != nil {
		inside.close()
		return err
	}
	adoptLegacy(m, log)
	ec := s.edgeConfig()
	ec.Inside = m.Inside()
	front, err := newEdges(ctx, ec, s.keys, m.Edge(ec.ID), edgeLogs{log: log, access: requests})
	if err != nil {
		inside.close()
		return err
	}
	about := &welcome{role: "run", admin: access.url(inside.admin), paths: append(slices.Clone(masterPaths), innerEdgePaths...)}
	about.facts = append([]fact{{name: "requests", values: frontURLs(ec.Listeners, front.addresses(ec))}}, s.poolFacts()...)
	if inside.wire != nil {
		about.facts = append(about.facts, fact{name: "agents", values: []string{address(inside.wire)}})
	}
	p := &process{welcome: about, log: log, console: f.logs.consoleOn(sink), trust: keeper, signer: signerOf(enrolment), draining: front.inFlight, yield: front.yield, ready: front.accepting(), access: access, file: f.config}
	p.admin = access.surface(p, append(m.Endpoints(), front.endpoints("/edge")...))
	p.parts = append([]part{{name: "edge", run: front.run}}, masterParts(m, inside, p)...)
	p.parts = slices.Concat(p.parts, guardParts(keeper), enrolParts(enrolment))
	p.sockets = func() []heirloom { return append(front.open(), inside.heirlooms(at)...) }
	p.legacy = func() any { return m.HandoffServers() }
	if f.config != "" {
		p.atStart, p.reloads = began, failing
		p.reload = func() (atStart, error) { return reloadRun(ctx, f.config, ec.ID, m, front) }
	}
	p.serving = []any{"role", "run", "id", cmp.Or(mp.ID, "master"), "listen", front.addresses(ec), "admin", address(inside.admin), "pools", s.poolNames()}
	if inside.wire != nil {
		p.serving = append(p.serving, "wire", address(inside.wire))
	}
	return p.serve(ctx)
}

// adoptLegacy has the master begin with what the one knew from which this program takes over.
func adoptLegacy(m *master.Master, log *slog.Logger) {
	text, err := legacy()
	if text == nil && err == nil {
		return
	}
	var known []master.HandoffServer
	err = errors.Join(err, json.Unmarshal(text, &known), m.Restore(known))
	if err != nil {
		log.Warn("not all that the program before knew of servers could be taken over; agents will tell", "err", err)
	}
}

func reloadRun(ctx context.Context, path string, id balance.EdgeID, m *master.Master, front *edges) (atStart, error) {
	s, err := readRun(path)
	if err != nil {
		return nil, err
	}
	ec := s.edgeConfig()
	ec.ID = id // the leases are in its name
	return s.ofRunAtStart(), front.reload(ctx, ec, s.keys, func() error { return m.Reload(s.masterConfig()) })
}

func newMaster(s *settings, k *trust.Keeper, e *master.Enrolment, l insideListeners, r *reloads, log *slog.Logger, sink *logs.Sink) (*master.Master, error) {
	mc := s.masterConfig()
	mc.Log, mc.LogDropped, mc.Trust, mc.Enrolment, mc.Inside = log, sink.Dropped, k, e, new(inside.Set)
	mc.ReloadFailed = r.failed
	mc.Inside.AddOwn(l.wire, l.admin)
	if l.admin != nil {
		mc.Admin = address(l.admin)
	}
	return master.New(mc)
}

// insideAddresses are where our own components and operators connect.
type insideAddresses struct {
	wire        string // empty: nowhere
	admin       adminAddress
	proven      bool // peers that connect to wire prove who they are
	adminProven bool // and so do callers of admin
	insecure    bool
}

type insideListeners struct{ wire, admin net.Listener } // nil: none

// heirlooms are the listeners, by the addresses that were asked for.
func (l insideListeners) heirlooms(at insideAddresses) (all []heirloom) {
	if l.wire != nil {
		all = append(all, heirloom{at.wire, l.wire})
	}
	if l.admin != nil {
		all = append(all, heirloom{at.admin.address, l.admin})
	}
	return all
}

// close gives up listeners of a start that failed half way.
func (l insideListeners) close() { closeAll([]net.Listener{l.wire, l.admin}) }

func openInside(ctx context.Context, at insideAddresses, log *slog.Logger) (l insideListeners, err error) {
	if at.wire != "" {
		if l.wire, err = listenInside(ctx, at.wire, at.proven || at.insecure, plainAdvice); err != nil {
			return l, err
		}
	}
	if l.admin, err = at.admin.listen(ctx, at.adminProven || at.insecure, log); err != nil {
		l.close()
	}
	return l, err
}

// masterParts are what runs of a master: its listeners stop before its timers.
func masterParts(m *master.Master, l insideListeners, p *process) []part {
	var parts []part
	if l.wire != nil {
		parts = append(parts, part{name: "master", shared: true, run: func(ctx context.Context) error { return m.Serve(ctx, l.wire) }})
	}
	parts = append(parts, p.access.parts(p, l.admin, true, ofMaster(l.wire))...)
	return append(parts, part{name: "master", run: m.Run})
}
