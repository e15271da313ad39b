package master

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/probe"
)

// HealthCheck is how a pool's servers are checked from outside. The zero value checks none.
type HealthCheck = probe.Check

// checker checks the servers of pools that want it, those with agents too: an agent sees its
// server from beside it, edges reach it over the network. Unless said otherwise its fields belong
// to run.
type checker struct {
	master  *Master
	prober  *probe.Prober
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
	at      string      // where that leads, as edges are told it: they judge the same
	how     HealthCheck // with defaults
	due     balance.Instant
	verdict probe.Verdict
	busy    atomic.Bool
}

const (
	surveyEvery = time.Second           // how often to look which servers there are
	checkTick   = 10 * time.Millisecond // how finely looks are spread
	mostProbes  = 512                   // at a time
)

// runChecks checks servers until ctx ends.
func (m *Master) runChecks(ctx context.Context) {
	c := &checker{master: m, targets: make(map[agentKey]*target), prober: probe.New()}
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
		if how.Enabled() && !p.closing {
			how = how.WithDefaults()
			for m := range p.core.Members {
				if at, ok := p.checkedAt(m); ok {
					all = append(all, &target{pool: p, id: m.ID, address: m.Address, at: at, how: how})
				}
			}
		}
		p.mu.Unlock()
		for _, t := range all {
			key := agentKey{p.name, t.id}
			seen[key] = true
			c.keep(now, key, t)
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
	if had != nil && had.address == t.address && had.pool == t.pool && sameCheck(had.how, t.how) {
		if had.how.TLS != t.how.TLS && !had.busy.Load() {
			had.how = t.how // a reload has read its files anew
		}
		if had.at != t.at && !had.busy.Load() {
			had.at = t.at // its name leads elsewhere: what was found so far holds until that is checked
		}
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

// sameCheck reports whether two checks look for the same; of TLS, whether it is spoken.
func sameCheck(a, b HealthCheck) bool {
	if (a.TLS == nil) != (b.TLS == nil) {
		return false
	}
	a.TLS = b.TLS
	return a == b
}

// release lets a server that is looked at no more have work again.
func (t *target) release(now balance.Instant) {
	if !t.verdict.Healthy() {
		t.verdict = probe.Verdict{}
		t.pool.checked(now, t.id, "")
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
			err := c.prober.Probe(ctx, t.address, t.at, &t.how)
			if ctx.Err() == nil {
				t.judge(err)
			}
		})
	}
}

// judge takes the result of a look, nil for a good one.
func (t *target) judge(err error) {
	t.pool.mu.Lock()
	if err == nil {
		t.pool.tally.checks[passed]++
		if t.how.Answers() {
			t.pool.core.Alive(clock.Now(), t.id)
		}
	} else {
		t.pool.tally.checks[failed]++
	}
	t.pool.mu.Unlock()
	if !t.verdict.Add(err == nil, &t.how) {
		return
	}
	if t.verdict.Healthy() {
		t.pool.checked(clock.Now(), t.id, "")
	} else {
		t.pool.checked(clock.Now(), t.id, err.Error())
	}
}

// checked takes what checking a server has found. It locks the pool.
func (p *pool) checked(now balance.Instant, id balance.ServerID, problem string) {
	p.mu.Lock()
	defer p.unlock()
	p.setHealth(now, id, balance.ByMaster, problem)
}

// setHealth tells the core what a witness has found, and edges if it changes anything.
func (p *pool) setHealth(now balance.Instant, id balance.ServerID, by balance.Witness, problem string) {
	if changed, err := p.core.SetHealth(now, id, by, problem); err == nil && changed {
		p.touch()
	}
}
