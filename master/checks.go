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

// HealthCheck is how a pool's servers are checked. The zero value checks none.
type HealthCheck = probe.Check

// checker checks the servers of pools that configure it, also those with agents: an agent sees its server from
// the same machine, edges reach it over the network. Unless said otherwise its fields belong to run.
type checker struct {
	master   *Master
	prober   *probe.Prober
	targets  map[agentKey]*target
	probes   sync.WaitGroup
	inFlight atomic.Int64
}

// target is a server that is checked. Its fields belong to run, and to its probe while busy is set.
type target struct {
	pool    *pool
	id      balance.ServerID
	address string
	at      string      // where address resolves to, as edges are sent it: they check the same
	check   HealthCheck // defaults are filled in
	due     balance.Instant
	verdict probe.Verdict
	busy    atomic.Bool
}

const (
	surveyEvery = time.Second           // how often the targets are updated
	checkTick   = 10 * time.Millisecond // resolution of the schedule
	maxProbes   = 512                   // concurrent probes
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

// survey updates the targets to the pools' servers.
func (c *checker) survey(now balance.Instant) {
	seen := make(map[agentKey]bool, len(c.targets))
	for _, p := range c.master.pools.Load().list {
		p.mu.Lock()
		how := p.cfg.Health
		var all []*target
		if how.Enabled() && !p.closing {
			how = how.WithDefaults()
			for m := range p.core.Members {
				if at, ok := p.checkedAtLocked(m); ok {
					all = append(all, &target{pool: p, id: m.ID, address: m.Address, at: at, check: how})
				}
			}
		}
		p.mu.Unlock()
		for _, t := range all {
			key := agentKey{p.name, t.id}
			seen[key] = true
			c.setTarget(now, key, t)
		}
	}
	for key, t := range c.targets {
		if !seen[key] && !t.busy.Load() {
			delete(c.targets, key)
			t.restoreHealth(now)
		}
	}
}

// setTarget adds a server to be checked. Its first check is at an offset within the interval that follows from
// its name, so that checks are spread.
func (c *checker) setTarget(now balance.Instant, key agentKey, t *target) {
	had := c.targets[key]
	if had != nil && had.address == t.address && had.pool == t.pool && sameCheck(had.check, t.check) {
		if had.check.TLS != t.check.TLS && !had.busy.Load() {
			had.check = t.check // a reload has read its files anew
		}
		if had.at != t.at && !had.busy.Load() {
			had.at = t.at // its name resolves to another address: the result stays until that is checked
		}
		return
	}
	if had != nil {
		if had.busy.Load() {
			return // the next survey updates it
		}
		had.restoreHealth(now)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key.pool + "\x00" + string(key.server)))
	t.due = now.Add(time.Duration(float64(t.check.Interval) * float64(h.Sum32()) / (1 << 32)))
	c.targets[key] = t
}

// sameCheck reports whether two checks are equal; of TLS, whether both use it.
func sameCheck(a, b HealthCheck) bool {
	if (a.TLS == nil) != (b.TLS == nil) {
		return false
	}
	a.TLS = b.TLS
	return a == b
}

// restoreHealth makes a server healthy that is no longer checked.
func (t *target) restoreHealth(now balance.Instant) {
	if !t.verdict.Healthy() {
		t.verdict = probe.Verdict{}
		t.pool.setChecked(now, t.id, "")
	}
}

// launch starts the checks that are due. A check is skipped if it is late or the server's last one is still
// running.
func (c *checker) launch(ctx context.Context, now balance.Instant) {
	for _, t := range c.targets {
		if now < t.due || c.inFlight.Load() >= maxProbes {
			continue
		}
		for t.due <= now {
			t.due = t.due.Add(t.check.Interval)
		}
		if !t.busy.CompareAndSwap(false, true) {
			continue
		}
		c.inFlight.Add(1)
		c.probes.Go(func() {
			defer c.inFlight.Add(-1)
			defer t.busy.Store(false)
			err := c.prober.Probe(ctx, t.address, t.at, &t.check)
			if ctx.Err() == nil {
				t.onResult(err)
			}
		})
	}
}

// onResult handles the result of a check; nil: it passed.
func (t *target) onResult(err error) {
	t.pool.mu.Lock()
	if err == nil {
		t.pool.stats.checks[passed]++
		if t.check.Answers() {
			t.pool.core.Alive(clock.Now(), t.id)
		}
	} else {
		t.pool.stats.checks[failed]++
	}
	t.pool.mu.Unlock()
	if !t.verdict.Add(err == nil, &t.check) {
		return
	}
	if t.verdict.Healthy() {
		t.pool.setChecked(clock.Now(), t.id, "")
	} else {
		t.pool.setChecked(clock.Now(), t.id, err.Error())
	}
}

// setChecked records the result of a check.
func (p *pool) setChecked(now balance.Instant, id balance.ServerID, problem string) {
	p.mu.Lock()
	defer p.unlock()
	p.setHealthLocked(now, id, balance.ByMaster, problem)
}

// setHealthLocked records a witness's finding, and has edges sent the change if there is one.
func (p *pool) setHealthLocked(now balance.Instant, id balance.ServerID, by balance.Witness, problem string) {
	if changed, err := p.core.SetHealth(now, id, by, problem); err == nil && changed {
		p.markChangedLocked()
	}
}
