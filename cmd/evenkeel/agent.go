package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/client"
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
	sample     bool
	prometheus string
	metrics    []string
	orca       string
	interval   time.Duration
	admin      string
	config     string
	trust      trustFlags
	logs       logFlags
}

func agentCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent --pool NAME --address HOST:PORT | --config FILE",
		Short: "report the load of a server beside it, and take dispatches",
		Long: `Agent runs beside a server. It puts the server into its pool, reports its load to
every master, hands dispatches to the application, and says goodbye when it stops.`,
		Example: `  evenkeel agent --pool render --address 10.0.0.5:8000
  evenkeel agent --pool llm --address 10.0.0.6:8000 --slots 8 --label zone=b \
      --prometheus http://127.0.0.1:8000/metrics --metric 'queue=vllm:num_requests_waiting'
  evenkeel agent --config evenkeel.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return startAgent(cmd.Context(), s, &f, cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	f.logs.add(cmd)
	return cmd
}

func (f *agentFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.masters, "master", nil, "a master, host:port or unix:/path; repeat for each (default "+defaultWire+")")
	flags.StringVar(&f.pool, "pool", "", "the pool that the server joins")
	flags.StringVar(&f.id, "id", "", "what the server is called (default HOSTNAME:PORT)")
	flags.StringVar(&f.address, "address", "", "where edges reach the server, host:port")
	flags.StringVar(&f.public, "public", "", "base URL for redirected clients (default http:// and the address)")
	flags.Float64Var(&f.slots, "slots", 0, "how many requests the server works on at once (default: learnt)")
	flags.Float64Var(&f.speed, "speed", 0, "of one slot, relative to the pool's other servers (default 1)")
	flags.StringArrayVar(&f.labels, "label", nil, "key=value that requests may ask for; repeat for each")
	flags.StringVar(&f.location, "location", "", "where the server is, in the pool's words")
	flags.StringVar(&f.hook, "hook", "", "URL of the application to which dispatches are posted (default: all are accepted)")
	flags.BoolVar(&f.sample, "sample", true, "report the CPU, memory and network of this machine or cgroup")
	flags.StringVar(&f.prometheus, "prometheus", "", "URL of the application's Prometheus metrics")
	flags.StringArrayVar(&f.metrics, "metric", nil, "one to take from there, NAME=SELECTOR; repeat for each")
	flags.StringVar(&f.orca, "orca", "", "URL of the application that answers with ORCA load reports")
	flags.DurationVar(&f.interval, "interval", 0, "between reports (default 100ms)")
	flags.StringVar(&f.admin, "admin", "", "where the application and operators reach the agent, host:port, or off (default "+defaultAgentAdmin+")")
	flags.StringVar(&f.config, "config", "", "read a file instead of flags")
	f.trust.add(flags)
}

func (f *agentFlags) settings(cmd *cobra.Command) (*settings, error) {
	if f.config != "" {
		if err := notBoth(cmd, "master", "pool", "id", "address", "public", "slots", "speed", "label", "location", "hook",
			"sample", "prometheus", "metric", "orca", "interval"); err != nil {
			return nil, err
		}
		return readAgent(f.config)
	}
	if f.pool == "" || f.address == "" {
		return nil, usagef("such as evenkeel agent --pool web --address 127.0.0.1:8000", "agent needs a --pool and an --address, or a --config")
	}
	all, err := parseLabels(f.labels)
	if err != nil {
		return nil, usageError{err}
	}
	a := &agentPart{Masters: f.masters, Pool: f.pool, ID: f.id, Address: f.address, Public: f.public, Slots: f.slots, Speed: f.speed,
		Labels: all, Location: f.location, Hook: f.hook, Sample: &f.sample, Interval: f.interval, ORCA: orcaPart{URL: f.orca}}
	a.Prometheus.URL = f.prometheus
	for _, flag := range f.metrics {
		name, selector, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, usagef("such as --metric queue=app_queue_length", "--metric %q: want NAME=SELECTOR", flag)
		}
		a.Prometheus.Metrics = append(a.Prometheus.Metrics, seriesPart{Name: name, Selector: selector})
	}
	s := &settings{Agent: a}
	return s, s.problems()
}

// readAgent reads a file that has what an agent needs.
func readAgent(path string) (*settings, error) {
	s, err := readSettings(path)
	if err == nil && s.Agent == nil {
		err = lacks(path, "agent", "agent: { masters: ["+defaultWire+"], pool: web, address: 127.0.0.1:8000 }")
	}
	return s, err
}

func startAgent(ctx context.Context, s *settings, f *agentFlags, stderr io.Writer) error {
	log, err := f.logs.logger(stderr)
	if err != nil {
		return err
	}
	safe := f.trust.over(s.Agent.TLS, s.Agent.Insecure)
	keeper, err := safe.open(trust.Agent, log)
	if err != nil {
		return err
	}
	if err := safe.refusePlain(s.Agent.masters()); err != nil {
		return err
	}
	if s.Agent.ID, err = nameBy(keeper, s.Agent.ID, "agent.id"); err != nil {
		return err
	}
	hook, err := agent.NewHook(s.Agent.Hook)
	if err != nil {
		return err
	}
	defer hook.Close()
	c, err := client.NewAgent(client.AgentConfig{
		Masters:  s.Agent.masters(),
		Pool:     s.Agent.Pool,
		Server:   s.Agent.spec(),
		Dispatch: hook.Dispatch,
		Trust:    keeper,
		Log:      log,
		Software: "evenkeel " + version(),
	})
	if err != nil {
		return err
	}
	cfg := s.Agent.config()
	cfg.Hook, cfg.Log = hook, log
	a, err := agent.New(cfg, c)
	if err != nil {
		return err
	}
	admin, err := chooseAdmin(f.admin, s.Agent.Admin, defaultAgentAdmin).listen(ctx, safe.insecure, log)
	if err != nil {
		return err
	}
	p := &process{log: log, tell: teller(stderr), trust: keeper, parts: []part{{name: "agent", run: a.Run}}}
	if admin != nil {
		p.parts = append(p.parts, part{name: "admin", run: func(ctx context.Context) error { return serveHTTP(ctx, admin, withProfiles(a.Handler()), log) }})
	}
	p.parts = append(append(p.parts, part{name: "client", run: c.Run}), guardParts(keeper)...)
	if f.config != "" {
		p.reload = func() error { return errors.New("an agent reads its file at the start only: restart it") }
	}
	p.serving = []any{"role", "agent", "server", cfg.Server, "pool", s.Agent.Pool, "address", s.Agent.Address, "admin", address(admin), "masters", s.Agent.masters()}
	return p.serve(ctx)
}
