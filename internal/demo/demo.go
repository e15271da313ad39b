// Package demo shows the effect of the master. The same requests go to the same twelve servers through eight proxies: first each with its
// own count of connections, then as edges that ask a master. All of them are real processes on loopback. Both are compared with the ideal
// that the simulator computes for the same requests.
package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// The proxies that can stand against the edges.
const (
	SmallProxies = ""        // our own small ones, which need nothing installed
	HAProxy      = "haproxy" // balance leastconn
	Nginx        = "nginx"   // least_conn
)

// Config says what to show.
type Config struct {
	Binary  string        // evenkeel itself
	Against string        // SmallProxies, HAProxy or Nginx
	Program string        // of HAProxy or Nginx: its path
	Length  time.Duration // of the traffic through each system
	Seed    uint64
	Log     io.Writer   // gets the logs of our own processes; nil: they are only kept for errors
	Live    func(Sight) // called five times a second; nil: not at all
}

// Result is what Run returns, as it is printed as JSON.
type Result struct {
	Policies []Outcome `json:"policies"`
	Late     bool      `json:"late"`    // the sender could not keep its times, so the figures are of a busy machine
	Stretch  float64   `json:"stretch"` // 1, or 2 if all was repeated at double time
	Against  string    `json:"against"` // what the proxies were: evenkeel sample-proxy, haproxy or nginx
	Other    Range     `json:"p99_over_least_load_simulated"`
}

// Outcome is what became of the requests in one system. Requests and Errors count all of them; the times are those of the
// requests after the warm-up, the first tenth.
type Outcome struct {
	Policy   string   `json:"policy"` // leastconn-per-edge, least-load or ideal
	Requests int      `json:"requests"`
	Errors   int      `json:"errors"`
	Mean     float64  `json:"mean_ms"`
	P50      float64  `json:"p50_ms"`
	P95      float64  `json:"p95_ms"`
	P99      float64  `json:"p99_ms"`
	Servers  []Server `json:"servers"` // none of the ideal
}

// Server is one server's part in an Outcome.
type Server struct {
	ID          string  `json:"id"`
	Speed       float64 `json:"speed"`
	Share       float64 `json:"share"`       // of the requests, 0 to 1
	Utilization float64 `json:"utilization"` // of the work it can do, 0 to 1
}

// Names of what is compared.
const (
	PerEdge   = "leastconn-per-edge"
	LeastLoad = policyName
	Ideal     = sim.Ideal
)

// Run shows both systems in turn. If its own sender was late, it shows them once more
// with all times doubled and fewer requests, so that all takes less than a minute. Its
// error is the context's cause if that has ended.
func Run(ctx context.Context, cfg Config) (Result, error) {
	result, err := compare(ctx, cfg, 1)
	if err == nil && result.Late {
		cfg.Length = cfg.Length * 5 / 6
		result, err = compare(ctx, cfg, 2)
	}
	return result, err
}

func compare(ctx context.Context, cfg Config, stretch float64) (Result, error) {
	p := newPlan(cfg, stretch)
	result := Result{Stretch: stretch, Against: "evenkeel sample-proxy"}
	if cfg.Against != SmallProxies {
		result.Against = cfg.Against
	}
	for _, policy := range []string{PerEdge, LeastLoad} {
		t, err := show(ctx, cfg, &p, policy)
		if err != nil {
			return result, fmt.Errorf("%s: %w", policy, err)
		}
		result.Policies = append(result.Policies, t.outcome(policy))
		result.Late = result.Late || t.late()
		if result.Late && stretch == 1 {
			return result, nil // it is shown again
		}
	}
	result.Policies = append(result.Policies, Outcome{Policy: Ideal, Requests: len(p.requests), Servers: []Server{},
		Mean: p.ideal.Mean * 1000, P50: p.ideal.P50 * 1000, P95: p.ideal.P95 * 1000, P99: p.ideal.P99 * 1000})
	result.Other = simulated(cfg)
	return result, nil
}

// show sends the plan's requests through one system.
func show(ctx context.Context, cfg Config, p *plan, policy string) (*tally, error) {
	system := newSystem(cfg, p)
	defer system.stop()
	start := system.startOurs
	if policy == PerEdge {
		start = system.startProxies
	}
	if err := start(ctx); err != nil {
		return nil, err
	}
	client := load.NewSender(load.Limits{})
	defer client.Close()
	t := newTally(p)
	watched, stopWatch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	if cfg.Live != nil {
		watcher.Go(func() { system.watch(watched, policy, t, cfg.Live) })
	}
	load.Send(ctx, client, nil, p.trace(system.urls), t.add)
	stopWatch()
	watcher.Wait()
	return t, context.Cause(ctx)
}

// tally adds up what became of the requests.
type tally struct {
	plan *plan

	mu       sync.Mutex
	answered int                // all requests
	took     []time.Duration    // of those that are measured and succeeded
	sentLate int                // of those that are measured
	measured int                // of answered, those after the warm-up
	errors   int                // of answered
	work     map[string]float64 // by server: seconds at speed 1
	count    map[string]int     // by server
}

func newTally(p *plan) *tally {
	return &tally{plan: p, work: make(map[string]float64), count: make(map[string]int)}
}

func (t *tally) add(r load.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered++
	t.work[r.Server] += r.Work
	t.count[r.Server]++
	if r.Status != 200 {
		t.errors++
	}
	if !t.plan.counts(r.Index) {
		return
	}
	t.measured++
	if r.Late.Seconds() > lateShare*t.plan.ideal.P50 {
		t.sentLate++
	}
	if r.Status == 200 {
		t.took = append(t.took, r.Took)
	}
}

// The sender is late if more than one request in a hundred left later than a twentieth
// of the ideal's p50.
const (
	lateShare    = .05
	lateRequests = .01
)

func (t *tally) late() bool {
	return float64(t.sentLate) > lateRequests*float64(t.measured)
}

func (t *tally) outcome(policy string) Outcome {
	slices.Sort(t.took)
	var sum time.Duration
	for _, d := range t.took {
		sum += d
	}
	o := Outcome{Policy: policy, Requests: t.answered, Errors: t.errors,
		Mean: ms(sum) / float64(max(1, len(t.took))),
		P50:  ms(load.Quantile(t.took, .5)), P95: ms(load.Quantile(t.took, .95)), P99: ms(load.Quantile(t.took, .99))}
	for i, k := range t.plan.scenario.Fleet() {
		id := serverID(i)
		o.Servers = append(o.Servers, Server{ID: id, Speed: k.Speed,
			Share:       float64(t.count[id]) / float64(max(1, t.answered)),
			Utilization: t.work[id] / (k.Speed * t.plan.length.Seconds())})
	}
	return o
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
