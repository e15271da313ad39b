package master

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// HealthCheck is how servers without an agent are looked at from outside. The zero
// value looks at none.
type HealthCheck struct {
	HTTP     string        // the path of a GET; empty: none
	Status   int           // that it has to answer; zero: any from 200 to 399
	TCP      bool          // whether a connection can be made; HTTP, if both are written
	Interval time.Duration // between two looks at a server; zero: 1 s
	Timeout  time.Duration // for one; zero: 1 s
	Rise     int           // good looks in a row until a sick server is well; zero: 2
	Fall     int           // bad ones until a server is sick; zero: 2
}

const (
	defaultCheckInterval = time.Second
	defaultCheckTimeout  = time.Second
	defaultRise          = 2
	defaultFall          = 2

	shortestCheck = 100 * time.Millisecond
	longestCheck  = time.Hour
	mostInRow     = 100
)

func (h *HealthCheck) enabled() bool { return h.HTTP != "" || h.TCP }

func (h HealthCheck) withDefaults() HealthCheck {
	h.Interval, h.Timeout = cmp.Or(h.Interval, defaultCheckInterval), cmp.Or(h.Timeout, defaultCheckTimeout)
	h.Rise, h.Fall = cmp.Or(h.Rise, defaultRise), cmp.Or(h.Fall, defaultFall)
	return h
}

func (h *HealthCheck) validate(bad func(field, problem string)) {
	if h.HTTP != "" && h.HTTP[0] != '/' {
		bad("health.http", fmt.Sprintf("%q, want a path, such as /healthz", clip(h.HTTP)))
	}
	if h.HTTP != "" {
		if _, err := http.NewRequest(http.MethodGet, "http://server"+h.HTTP, nil); err != nil {
			bad("health.http", fmt.Sprintf("%q, want a path, such as /healthz", clip(h.HTTP)))
		}
	}
	if h.Status != 0 && (h.Status < 100 || h.Status > 599) {
		bad("health.status", fmt.Sprintf("%d, want 100 to 599, or 0 for any from 200 to 399", h.Status))
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"health.interval", h.Interval}, {"health.timeout", h.Timeout}} {
		if d.value != 0 && (d.value < shortestCheck || d.value > longestCheck) {
			bad(d.field, fmt.Sprintf("%v, want %v to %v", d.value, shortestCheck, longestCheck))
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{{"health.rise", h.Rise}, {"health.fall", h.Fall}} {
		if n.value < 0 || n.value > mostInRow {
			bad(n.field, fmt.Sprintf("%d, want 1 to %d", n.value, mostInRow))
		}
	}
	if !h.enabled() && *h != (HealthCheck{}) {
		bad("health", "says how, but not what to check: want http: /PATH, or tcp: true")
	}
}

// checker looks at servers that have no agent. Unless said otherwise its fields belong
// to run.
type checker struct {
	master  *Master
	client  *http.Client
	targets map[agentKey]*target
	probes  sync.WaitGroup
	flying  atomic.Int64
}

// target is a server that is looked at. Its fields belong to run, and to its probe
// while busy is set.
type target struct {
	pool    *pool
	id      balance.ServerID
	address string
	how     HealthCheck // with defaults
	due     balance.Instant
	row     int // good looks in a row, or bad ones if negative
	sick    bool
	busy    atomic.Bool
}

const (
	surveyEvery = time.Second           // how often to look which servers there are
	checkTick   = 10 * time.Millisecond // how finely looks are spread
	mostProbes  = 512                   // at a time
)

// runChecks looks at servers until ctx ends.
func (m *Master) runChecks(ctx context.Context) {
	c := &checker{master: m, targets: make(map[agentKey]*target), client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // a look entrusts the server with nothing; edges, which do, have it prove who it is
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer c.probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var surveyed balance.Instant
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := clock.Now()
		if surveyed == 0 || now.Sub(surveyed) >= surveyEvery {
			surveyed = now
			c.survey(now)
		}
		if len(c.targets) == 0 {
			timer.Reset(surveyEvery)
			continue
		}
		c.launch(ctx, now)
		timer.Reset(checkTick)
	}
}

// survey brings the targets in line with the pools.
func (c *checker) survey(now balance.Instant) {
	seen := make(map[agentKey]bool, len(c.targets))
	for _, p := range c.master.pools.Load().list {
		p.mu.Lock()
		how := p.cfg.Health
		var all []*target
		if how.enabled() && !p.closing {
			how = how.withDefaults()
			for id, address := range p.core.Members {
				all = append(all, &target{pool: p, id: id, address: address, how: how})
			}
		}
		p.mu.Unlock()
		for _, t := range all {
			if key := (agentKey{p.name, t.id}); c.master.peers.agent(p.name, t.id) == nil {
				seen[key] = true
				c.keep(now, key, t)
			}
		}
	}
	for key, t := range c.targets {
		if !seen[key] && !t.busy.Load() {
			delete(c.targets, key)
			t.release(now)
		}
	}
}

// keep has a server looked at. The first look comes at a time of the interval that
// follows from its name, so that all are spread over it.
func (c *checker) keep(now balance.Instant, key agentKey, t *target) {
	had := c.targets[key]
	if had != nil && had.address == t.address && had.how == t.how && had.pool == t.pool {
		return
	}
	if had != nil {
		if had.busy.Load() {
			return // the next survey will do
		}
		had.release(now)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key.pool + "\x00" + string(key.server)))
	t.due = now.Add(time.Duration(float64(t.how.Interval) * float64(h.Sum32()) / (1 << 32)))
	c.targets[key] = t
}

// release lets a server that is looked at no more have work again.
func (t *target) release(now balance.Instant) {
	if t.sick {
		t.sick = false
		t.pool.setHealth(now, t.id, true)
	}
}

// launch starts the looks that are due. One that comes too late, or whose server has
// not answered the last, is left out.
func (c *checker) launch(ctx context.Context, now balance.Instant) {
	for _, t := range c.targets {
		if now < t.due || c.flying.Load() >= mostProbes {
			continue
		}
		for t.due <= now {
			t.due = t.due.Add(t.how.Interval)
		}
		if !t.busy.CompareAndSwap(false, true) {
			continue
		}
		c.flying.Add(1)
		c.probes.Go(func() {
			defer c.flying.Add(-1)
			defer t.busy.Store(false)
			err := c.probe(ctx, t)
			if ctx.Err() == nil {
				t.judge(c.master, err)
			}
		})
	}
}

// probe looks once; an error says what was wrong.
func (c *checker) probe(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.how.Timeout, fmt.Errorf("no answer within %v", t.how.Timeout))
	defer cancel()
	if t.how.HTTP == "" {
		_, hostPort := balance.SplitAddress(t.address)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", hostPort)
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, balance.BaseURL(t.address)+t.how.HTTP, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "evenkeel-health")
	res, err := c.client.Do(req)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	_ = res.Body.Close() // the head says it all
	if want := t.how.Status; want != 0 && res.StatusCode != want || want == 0 && (res.StatusCode < 200 || res.StatusCode > 399) {
		return fmt.Errorf("GET %s answered %d", t.how.HTTP, res.StatusCode)
	}
	return nil
}

// judge takes the result of a look, nil for a good one.
func (t *target) judge(m *Master, err error) {
	if err == nil {
		t.row = max(t.row, 0) + 1
	} else {
		t.row = min(t.row, 0) - 1
	}
	t.pool.mu.Lock()
	if err == nil {
		t.pool.tally.checks[passed]++
	} else {
		t.pool.tally.checks[failed]++
	}
	t.pool.mu.Unlock()
	switch now := clock.Now(); {
	case !t.sick && t.row <= -t.how.Fall:
		t.sick = true
		t.pool.setHealth(now, t.id, false)
		m.log.Warn("server is sick", "pool", t.pool.name, "server", t.id, "err", err)
	case t.sick && t.row >= t.how.Rise:
		t.sick = false
		t.pool.setHealth(now, t.id, true)
		m.log.Info("server is well again", "pool", t.pool.name, "server", t.id)
	}
}

// setHealth tells the pool what was found. It locks the pool.
func (p *pool) setHealth(now balance.Instant, id balance.ServerID, well bool) {
	p.mu.Lock()
	defer p.unlock()
	if changed, err := p.core.SetHealth(now, id, well); err == nil && changed {
		p.touch()
	}
}
