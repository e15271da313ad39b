package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"
	"github.com/evenkeel-lb/evenkeel/internal/version"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// agentFlags are those of the agent command.
type agentFlags struct {
	masters    []string
	pool       string
	id         string
	address    string
	public     string
	slots      float64
	speed      float64
	labels     []string
	location   string
	hook       string
	endHook    string
	health     string
	sample     bool
	cgroup     string
	pid        string
	prometheus string
	metrics    []string
	orca       string
	interval   time.Duration
	admin      adminFlags
	config     string
	trust      trustFlags
	enrol      enrolFlags
	logs       logFlags
}

func agentCommand(sink *logs.Sink) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent --pool NAME --address HOST:PORT | --config FILE",
		Short: "report the load of the server beside it, and take dispatches",
		Long: `Agent runs beside a server. It puts the server into its pool, reports its load to
every master, passes dispatches to the application, and deregisters the server when it stops.

Beyond loopback it needs a certificate: one of evenkeel certs issue (--tls-cert, --tls-key,
--tls-ca), or a token of evenkeel certs token (--token-file), by which a master signs its first
certificate. That is kept in the folder --certs and renewed by itself.`,
		Example: `  evenkeel agent --pool render --address 10.0.0.5:8000
  evenkeel agent --pool llm --address 10.0.0.6:8000 --slots 8 --label zone=b \
      --prometheus http://127.0.0.1:8000/metrics --metric 'queue=vllm:num_requests_waiting'
  evenkeel agent --pool render --address 10.0.0.7:8000 --master 10.0.0.1:7400 \
      --token-file /etc/evenkeel/token --certs /var/lib/evenkeel
  evenkeel agent --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRole(cmd, &f, func(s *settings.Settings) error { return startAgent(cmd.Context(), s, &f, sink) })
		},
	}
	addFlags(cmd, &f, &f.logs)
	completeLocalPool(cmd, "pool")
	completeConfig(cmd)
	return cmd
}

func (f *agentFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.masters, "master", nil, "a master, host:port or unix:/path; repeat for each (default "+settings.DefaultWire+")")
	flags.StringVar(&f.pool, "pool", "", "the pool that the server joins")
	flags.StringVar(&f.id, "id", "", "the server's id (default HOSTNAME:PORT)")
	flags.StringVar(&f.address, "address", "", "where edges reach the server, host:port")
	flags.StringVar(&f.public, "public", "", "base URL for redirected clients (default http:// and the address)")
	flags.Float64Var(&f.slots, "slots", 0, "how many requests the server works on at once (default: learnt)")
	flags.Float64Var(&f.speed, "speed", 0, "of one slot, relative to the pool's other servers (default 1)")
	flags.StringArrayVar(&f.labels, "label", nil, "key=value that requests may ask for; repeat for each")
	flags.StringVar(&f.location, "location", "", "the server's location, as the pool names it")
	flags.StringVar(&f.hook, "hook", "", "URL of the application to which dispatches are posted (default: all are accepted)")
	flags.StringVar(&f.endHook, "end-hook", "", "URL of the application to which the end of each accepted dispatch is posted (default: none)")
	flags.StringVar(&f.health, "health", "", "path by whose GET the agent checks the server, or off (default: that a connection can be made)")
	flags.BoolVar(&f.sample, "sample", true, "report the application's CPU and memory, and the machine's network")
	flags.StringVar(&f.cgroup, "cgroup", "", "the application's control group, such as app.slice/app.service (default: that of the process that listens at --address)")
	flags.StringVar(&f.pid, "pid", "", "the application's process id, or a file that holds it (default: the process that listens at --address)")
	flags.StringVar(&f.prometheus, "prometheus", "", "URL of the application's Prometheus metrics")
	flags.StringArrayVar(&f.metrics, "metric", nil, "one to take from there, NAME=SELECTOR; repeat for each")
	flags.StringVar(&f.orca, "orca", "", "URL of the application that answers with ORCA load reports")
	flags.DurationVar(&f.interval, "interval", 0, "between reports (default 500ms)")
	f.admin.define(flags, "where the application and operators reach the agent", settings.DefaultAgentAdmin)
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	addFlags(cmd, &f.trust, &f.enrol)
}

func (f *agentFlags) settings(cmd *cobra.Command) (*settings.Settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "master", "pool", "id", "address", "public", "slots", "speed", "label", "location", "hook", "end-hook", "health",
			"sample", "cgroup", "pid", "prometheus", "metric", "orca", "interval"); err != nil {
			return nil, err
		}
		return settings.ReadFor(settings.RoleAgent, f.config)
	}
	if f.pool == "" || f.address == "" {
		return nil, hint.Usagef("such as evenkeel agent --pool web --address 127.0.0.1:8000", "agent needs a --pool and an --address, or a --config")
	}
	all, err := settings.ParseLabels(f.labels)
	if err != nil {
		return nil, hint.Usage(err)
	}
	a := &settings.Agent{Masters: f.masters, AgentPools: settings.AgentPools{Pool: f.pool}, ID: f.id, Address: f.address, Public: f.public, Slots: f.slots, Speed: f.speed,
		Labels: all, Location: f.location, Hook: f.hook, EndHook: f.endHook, Sample: &f.sample, Cgroup: f.cgroup, PID: f.pid, Interval: f.interval, ORCA: settings.ORCA{URL: f.orca}}
	if f.health == settings.Off {
		a.HealthAddress = settings.Off
	} else {
		a.Health.HTTP = f.health
	}
	a.Prometheus.URL = f.prometheus
	for _, flag := range f.metrics {
		name, selector, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, hint.Usagef("such as --metric queue=app_queue_length", "--metric %q: want NAME=SELECTOR", flag)
		}
		a.Prometheus.Metrics = append(a.Prometheus.Metrics, settings.Series{Name: name, Selector: selector})
	}
	s := &settings.Settings{Agent: a}
	return s, s.Problems()
}

// openAgent reads or, by a token, gets the certificate by which an agent is known, if it is to have one.
func (st *startup) openAgent(ctx context.Context, own *enrolment, safe trustFlags, a *settings.Agent) (err error) {
	if own == nil {
		if err := st.authenticate(trust.Agent, safe, &a.ID, "agent.id"); err != nil {
			return err
		}
		return safe.refusePlain(a.MasterAddresses())
	}
	st.insecure = safe.insecure
	if st.keeper, err = own.open(ctx, os.Stdin); err != nil {
		return err
	}
	a.ID, err = nameBy(st.keeper, a.ID, "agent.id")
	return err
}

// agentClient is the configuration of an agent's connections to its masters.
func agentClient(s *settings.Settings, hook *agent.Hook, ends *agent.Ends, keeper *trust.Keeper, log *slog.Logger, listens *inside.Set) client.AgentConfig {
	return client.AgentConfig{
		Masters:  s.Agent.MasterAddresses(),
		Server:   s.Agent.Spec(),
		Dispatch: ends.Watch(hook.Dispatch),
		Ended:    ends.Ended,
		Trust:    keeper,
		Log:      log,
		Software: "evenkeel " + version.String(),
		Inside:   listens,
	}
}

func startAgent(ctx context.Context, s *settings.Settings, f *agentFlags, sink *logs.Sink) error {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // an agent is idle nearly always: to look for work on a second CPU would be most of what it does
	}
	st, err := f.logs.open(sink)
	if err != nil {
		return err
	}
	safe, masters := f.trust.over(s.Agent.TLS, s.Agent.Insecure), s.Agent.MasterAddresses()
	own, err := newEnrolment(f.enrol, safe, s.Agent, st.log)
	if err != nil {
		return err
	}
	if err := st.openAgent(ctx, own, safe, s.Agent); err != nil {
		return err
	}
	hook, err := agent.NewHook(s.Agent.Hook)
	if err != nil {
		return err
	}
	defer hook.Close()
	ends, err := agent.NewEnds(s.Agent.EndHook)
	if err != nil {
		return err
	}
	listens := new(inside.Set)
	pools := s.Agent.JoinedPools()
	c, err := client.NewAgents(agentClient(s, hook, ends, st.keeper, st.log, listens), pools)
	if err != nil {
		return err
	}
	cfg := s.AgentConfig()
	cfg.Hook, cfg.Ends, cfg.Log, cfg.LogDropped = hook, ends, st.log, st.dropped
	a, err := agent.New(cfg, c)
	if err != nil {
		return err
	}
	if err := st.openAccess(f.admin.over(s.Agent.AdminAccess)); err != nil {
		return err
	}
	admin, err := process.ChooseAdmin(f.admin.address, "agent", s.Agent.Admin, settings.DefaultAgentAdmin).Listen(ctx, st.access.Secure() || st.insecure, st.log)
	if err != nil {
		return err
	}
	listens.AddOwn(admin)
	about := &process.Overview{Role: "agent", Admin: st.access.URL(admin), Facts: []process.Fact{{Name: "server", Values: []string{string(cfg.Server) + " of " + pluralPools(pools)}},
		{Name: "address", Values: []string{s.Agent.Address}, Servers: true}, {Name: "masters", Values: masters, Servers: true}}}
	p := st.process(about, f.config, "role", "agent", "server", cfg.Server, "pool", strings.Join(pools, ","), "address", s.Agent.Address, "admin", process.Address(admin), "masters", masters)
	p.Settings = s
	p.Admin = st.access.Surface(p, a.Endpoints())
	register := func(ctx context.Context) error {
		select {
		case <-a.Checked():
		case <-ctx.Done():
		}
		return c.Run(ctx)
	}
	p.Components = slices.Concat([]process.Component{{Name: "agent", Run: a.Run}},
		st.access.Components(p, admin, false, "it is an agent's, which asks the master at "+strings.Join(masters, ", ")),
		[]process.Component{{Name: "client", Run: register}}, certificateComponents(st.keeper))
	if own != nil {
		p.Components = append(p.Components, process.Component{Name: "renewal", Run: func(ctx context.Context) error { return own.keep(ctx, st.keeper) }})
	}
	if f.config != "" {
		p.Reload = func() (*settings.Settings, settings.StartupKeys, error) {
			return nil, nil, errors.New("an agent reads its file at the start only: restart it")
		}
	}
	return p.Serve(ctx)
}
