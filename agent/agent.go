package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/rate"
)

// Sender sends the agent's messages to the masters; client.Agent implements it. None of its methods may
// block.
type Sender interface {
	Report(balance.Report)
	Done(balance.TaggedLease, balance.Outcome)
	Serving(problem string) // problem: why the server is down; empty: it is not
	Connected() bool        // to at least one master
}

// Config is an agent's configuration. It does not change after New.
type Config struct {
	Server      balance.ServerID // whose load is reported
	Interval    time.Duration    // between reports; zero: 500 ms
	Host        bool             // sample the machine; off for servers that only simulate
	Application Application      // whose CPU and memory are sampled with Host
	Health      Health
	Prometheus  Prometheus
	ORCA        ORCA
	Hook        *Hook         // whose verdicts /metrics counts; nil: none
	Ends        *Ends         // of accepted dispatches, run by the agent; nil: they are not heard
	Log         *slog.Logger  // nil: no logs
	LogDropped  func() uint64 // number of log lines that were not written; nil: no such metric
}

// Prometheus is an endpoint of the application from which some metrics are taken.
type Prometheus struct {
	URL      string        // of the text format; empty: none
	Interval time.Duration // between scrapes; zero: 1 s
	Metrics  []Series
}

// Series says which series of an endpoint make one metric.
type Series struct {
	Name     string  // of the metric
	Selector string  // family, or family{label="value",…}; the series that match are added up
	Scale    float64 // of the value; zero: 1
}

// ORCA is a URL of the application whose answer to a GET carries a load report in its header.
type ORCA struct {
	URL      string        // empty: none
	Interval time.Duration // between requests; zero: as between reports
}

const (
	defaultInterval = rate.Window // what is sampled is a mean over as long
	defaultScrape   = time.Second
	minGap          = 10 * time.Millisecond // between reports, however much changes; also the shortest interval
)

// Validate calls bad once for every invalid field.
func (c *Config) Validate(bad func(field, problem string)) {
	if c.Server == "" || len(c.Server) > 255 {
		bad("server", fmt.Sprintf("%d bytes, want 1 to 255", len(c.Server)))
	}
	interval := func(field string, d time.Duration) {
		if d != 0 && (d < minGap || d > time.Hour) {
			bad(field, fmt.Sprintf("%v, want %v to 1h", d, minGap))
		}
	}
	interval("interval", c.Interval)
	interval("prometheus.interval", c.Prometheus.Interval)
	interval("orca.interval", c.ORCA.Interval)
	if problem := badURL(c.ORCA.URL); problem != "" {
		bad("orca.url", problem)
	}
	c.Application.validate(bad)
	c.Prometheus.validate(bad)
	check := c.Health.check()
	check.Validate(bad)
}

func (p *Prometheus) validate(bad func(field, problem string)) {
	if problem := badURL(p.URL); problem != "" {
		bad("prometheus.url", problem)
	}
	if p.URL == "" && len(p.Metrics) > 0 {
		bad("prometheus.url", "empty, yet metrics are wanted from it")
	}
	if p.URL != "" && len(p.Metrics) == 0 {
		bad("prometheus.metrics", "empty: name at least one metric to take")
	}
	for i, s := range p.Metrics {
		field := fmt.Sprintf("prometheus.metrics[%d].", i)
		if name := canonical(s.Name); s.Name == "" || len(name) > balance.MaxMetricName {
			problem := fmt.Sprintf("too long: want at most %d bytes with its prefix", balance.MaxMetricName)
			if s.Name == "" {
				problem = "is missing: want the name by which the metric is told, such as queue"
			}
			bad(field+"name", problem)
		}
		if _, err := parseSelector(s.Selector); err != nil {
			bad(field+"selector", err.Error())
		}
		if !believable(s.Scale) {
			bad(field+"scale", fmt.Sprintf("%v, want more than 0", s.Scale))
		}
	}
}

// badURL returns what is wrong with a URL, "" if nothing is or there is none.
func badURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case !strings.Contains(s, "://"):
		return fmt.Sprintf("%q has no scheme, want a URL such as http://%s", s, s)
	case err != nil:
		return fmt.Sprintf("%q is no URL, want one such as http://127.0.0.1:9090/metrics", s)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Sprintf("%q, want a URL such as http://127.0.0.1:9090/metrics", s)
	}
	return ""
}

// Agent samples one server and reports.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	sender   Sender
	http     *http.Client
	metrics  *metrics
	wake     chan struct{}          // holds one when the board has something urgent
	checked  chan struct{}          // closed when the first health check has ended
	problem  atomic.Pointer[string] // why the server is down; nil: it is not
	returned atomic.Bool            // the server was down and works again, which the sampler has not heard

	mu    sync.Mutex
	board board
}

// New returns an agent that does nothing until Run. It returns an error if Validate finds a problem in the Config.
func New(cfg Config, sender Sender) (*Agent, error) {
	var problems []error
	cfg.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("agent: %s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	cfg.Interval = cmp.Or(cfg.Interval, defaultInterval)
	cfg.Prometheus.Interval = cmp.Or(cfg.Prometheus.Interval, defaultScrape)
	cfg.ORCA.Interval = cmp.Or(cfg.ORCA.Interval, cfg.Interval)
	cfg.Health.Check = cfg.Health.check().WithDefaults()
	a := &Agent{
		cfg:     cfg,
		log:     cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)).With("server", string(cfg.Server)),
		sender:  sender,
		http:    newClient(),
		wake:    make(chan struct{}, 1),
		checked: make(chan struct{}),
	}
	if !cfg.Health.enabled() {
		close(a.checked)
	}
	a.metrics = newMetrics(a)
	return a, nil
}

// newClient returns a client for the application on this machine: no proxies, no redirects. After a burst of dispatches it keeps a few idle
// connections, for a few seconds: without the limit an agent had 62 idle ones a minute after a burst.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 15 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run samples and reports until ctx ends, and returns nil when all that it started has ended. It is called once.
func (a *Agent) Run(ctx context.Context) error {
	var polls sync.WaitGroup
	defer a.http.CloseIdleConnections()
	defer polls.Wait()
	if a.cfg.Health.enabled() {
		polls.Go(func() { a.checkHealth(ctx) })
	}
	if a.cfg.Ends != nil {
		polls.Go(func() { a.cfg.Ends.run(ctx, a.log) })
	}
	for _, s := range a.sources() {
		polls.Go(func() { a.poll(ctx, s) })
	}
	a.report(ctx)
	return nil
}

// report sends a report every interval, and between two when something is urgent.
func (a *Agent) report(ctx context.Context) {
	var host hostSource
	if a.cfg.Host {
		host = newHostSource(a.cfg.Application, a.noteCPU)
	}
	tick := time.NewTicker(a.cfg.Interval)
	defer tick.Stop()
	early := time.NewTimer(0)
	early.Stop()
	defer early.Stop()
	last := clock.Now().Add(-minGap)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if host != nil {
				now := clock.Now()
				if a.returned.Swap(false) {
					host.again()
				}
				metrics, window, err := host.sample(now)
				a.mu.Lock()
				a.board.window = window
				a.mu.Unlock()
				a.found("host", now, metrics, err)
			}
			early.Stop()
			last = a.send()
		case <-a.wake:
			early.Reset(minGap - min(minGap, clock.Now().Sub(last)))
		case <-early.C:
			last = a.send()
		}
	}
}

// noteCPU logs which CPU is reported, or why none is.
func (a *Agent) noteCPU(line string, err error) {
	if err != nil {
		a.log.Warn("cpu: not reported", "err", err)
		return
	}
	a.log.Info("cpu: " + line)
}

// send makes a report of what is on the board and returns when.
func (a *Agent) send() balance.Instant {
	now := clock.Now()
	a.mu.Lock()
	metrics, age, window := a.board.take(now)
	a.mu.Unlock()
	if len(metrics) > 0 {
		a.sender.Report(balance.Report{Server: a.cfg.Server, Age: age, Window: window, Metrics: metrics})
		a.metrics.reports.Inc()
	}
	return now
}

// put enters samples or levels and wakes the reporting loop if they are urgent.
func (a *Agent) put(now balance.Instant, level bool, metrics []balance.Metric) (dropped []string) {
	a.mu.Lock()
	dropped = a.board.put(now, level, metrics)
	urgent := a.board.urgent(now)
	a.mu.Unlock()
	if urgent {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	return dropped
}

// found enters a source's samples. It logs once when a source begins to fail, and once when it works again; for a source that changes
// often, once a minute.
func (a *Agent) found(source string, now balance.Instant, metrics []balance.Metric, err error) {
	if dropped := a.put(now, false, metrics); len(dropped) > 0 {
		err = errors.Join(err, fmt.Errorf("impossible values or too many metrics: %s dropped", strings.Join(dropped, ", ")))
	}
	switch a.metrics.judge(source, now, err != nil) {
	case beginsToFail:
		a.log.Warn("a source of metrics fails; reporting without its values", "source", source, "err", err)
	case isWellAgain:
		a.log.Info("a source of metrics works again", "source", source)
	}
}
