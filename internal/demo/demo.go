// Package demo shows what the master is good for: the same traffic to the same
// unequal servers under two policies, all roles real processes on loopback.
package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"golang.org/x/sync/errgroup"
)

// Config says what to show.
type Config struct {
	Binary   string        // evenkeel itself
	Policies []string      // shown one after the other
	Length   time.Duration // of the traffic under each
	Seed     uint64
	Log      io.Writer   // gets the roles' logs; nil: nobody
	Live     func(Sight) // called about once a second; nil: nobody
}

// The servers differ twofold, as machines of two generations do; nothing tells the
// master so. The load is what round robin just bears.
var servers = []struct {
	slots int
	speed float64
}{{4, 1}, {4, 1}, {4, 1.5}, {4, 1.5}, {4, 2}, {4, 2}}

const (
	edges    = 2
	meanWork = .1 // seconds
	shape    = 1. // σ of the log-normal: one request in a hundred is six times as long as the mean
	use      = .63
)

// Sight is what can be seen of the traffic in the last second.
type Sight struct {
	Policy   string
	At       time.Duration
	Answers  int
	P50, P99 time.Duration
}

// Outcome is the whole of one policy's traffic, as it is printed and as JSON.
type Outcome struct {
	Policy   string   `json:"policy"`
	Requests int      `json:"requests"`
	Errors   int      `json:"errors"`
	Mean     float64  `json:"mean_ms"`
	P50      float64  `json:"p50_ms"`
	P95      float64  `json:"p95_ms"`
	P99      float64  `json:"p99_ms"`
	Servers  []Server `json:"servers"`
}

// Server is one server's part in an Outcome.
type Server struct {
	ID          string  `json:"id"`
	Slots       int     `json:"slots"`
	Speed       float64 `json:"speed"`
	Share       float64 `json:"share"`       // of the requests, 0 to 1
	Utilization float64 `json:"utilization"` // of what it can do, 0 to 1
}

// Run shows each policy in turn.
func Run(ctx context.Context, cfg Config) ([]Outcome, error) {
	capacity := 0.
	for _, s := range servers {
		capacity += float64(s.slots) * s.speed
	}
	trace := load.LogNormal(cfg.Seed, cfg.Length, use*capacity/meanWork, meanWork, shape)
	var outcomes []Outcome
	for _, policy := range cfg.Policies {
		o, err := show(ctx, cfg, policy, trace)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", policy, err)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

func show(ctx context.Context, cfg Config, policy string, trace []load.Arrival) (Outcome, error) {
	var c cluster
	defer c.stop()
	if err := c.start(cfg, policy); err != nil {
		return Outcome{}, err
	}
	client := load.Client()
	defer client.CloseIdleConnections()
	t := tally{policy: policy, work: make(map[string]float64), count: make(map[string]int)}
	watched, watch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	if cfg.Live != nil {
		watcher.Go(func() { t.watch(watched, cfg.Live) })
	}
	load.Send(ctx, client, c.urls, trace, t.add)
	watch()
	watcher.Wait()
	return t.outcome(cfg.Length), context.Cause(ctx)
}

// cluster is the processes of one policy's turn.
type cluster struct {
	mu   sync.Mutex
	all  []*proc.Process // in order of their start
	urls []string        // of the edges
}

func (c *cluster) start(cfg Config, policy string) error {
	master, err := c.role(cfg, "master", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "demo="+policy)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for i, s := range servers {
		g.Go(func() error {
			id := fmt.Sprint("s", i+1)
			server, err := c.role(cfg, "sample-server", "--listen", "127.0.0.1:0", "--id", id, "--slots", fmt.Sprint(s.slots), "--speed", fmt.Sprint(s.speed))
			if err != nil {
				return err
			}
			_, err = c.role(cfg, "agent", "--master", master.Addr("listen"), "--pool", "demo", "--id", id, "--address", server.Addr("listen"),
				"--admin", "127.0.0.1:0", "--sample=false", "--orca", "http://"+server.Addr("listen")+"/healthz")
			return err
		})
	}
	for i := range edges {
		g.Go(func() error {
			edge, err := c.role(cfg, "edge", "--master", master.Addr("listen"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "demo",
				"--id", fmt.Sprint("edge-", i+1), "--access-log=off")
			if err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.urls = append(c.urls, "http://"+edge.Addr("listen")+"/")
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(c.urls)
	return nil
}

func (c *cluster) role(cfg Config, args ...string) (*proc.Process, error) {
	p, err := proc.Start(cfg.Log, cfg.Binary, append(args, "--log-format", "json")...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, p)
	return p, nil
}

const stopLimit = 5 * time.Second

// stop ends the processes, the edges before what they need.
func (c *cluster) stop() {
	var ending sync.WaitGroup
	for _, p := range slices.Backward(c.all) {
		ending.Go(func() { p.Stop(stopLimit) })
	}
	ending.Wait()
}

// tally adds up the results of one policy's traffic.
type tally struct {
	policy string
	mu     sync.Mutex
	took   []time.Duration
	errors int
	work   map[string]float64
	count  map[string]int
	seen   int // results that the live line has told of
}

func (t *tally) add(r load.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Status != 200 {
		t.errors++
		return
	}
	t.took = append(t.took, r.Took)
	t.work[r.Server] += r.Work
	t.count[r.Server]++
}

func (t *tally) watch(ctx context.Context, live func(Sight)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		last := slices.Clone(t.took[t.seen:])
		t.seen = len(t.took)
		t.mu.Unlock()
		slices.Sort(last)
		live(Sight{Policy: t.policy, At: time.Since(start).Round(time.Second), Answers: len(last), P50: load.Quantile(last, .5), P99: load.Quantile(last, .99)})
	}
}

func (t *tally) outcome(length time.Duration) Outcome {
	slices.Sort(t.took)
	var sum time.Duration
	for _, d := range t.took {
		sum += d
	}
	o := Outcome{Policy: t.policy, Requests: len(t.took) + t.errors, Errors: t.errors,
		P50: ms(load.Quantile(t.took, .5)), P95: ms(load.Quantile(t.took, .95)), P99: ms(load.Quantile(t.took, .99))}
	if len(t.took) > 0 {
		o.Mean = ms(sum / time.Duration(len(t.took)))
	}
	for i, s := range servers {
		id := fmt.Sprint("s", i+1)
		o.Servers = append(o.Servers, Server{ID: id, Slots: s.slots, Speed: s.speed,
			Share:       float64(t.count[id]) / max(1, float64(len(t.took))),
			Utilization: t.work[id] / (float64(s.slots) * s.speed * length.Seconds())})
	}
	return o
}

func ms(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
