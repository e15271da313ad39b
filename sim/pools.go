package sim

import (
	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file is pools of several tenants over the same servers.

// What a scenario's pools may be.
const (
	onePool     = "one"
	sharedPools = "shared"
	blindPools  = "blind"
)

// wait is a request that waits in a pool.
type wait struct {
	pool int
	id   balance.WaitID // zero: it does not wait
}

func (s Scenario) validatePools(bad func(field, problem string)) {
	if s.Pools == onePool {
		return
	}
	switch {
	case len(s.Tenants) < 2:
		bad("pools", "want tenants, each of which has a pool")
	case s.Ask >= balance.LeastLocal, s.Churn.Every > 0, s.Checks.Every > 0, s.breaksMaster():
		bad("pools", "several pools are simulated with a near master that does not fail, and servers that stay and have no checks")
	}
}

func (s Scenario) breaksMaster() bool {
	for _, f := range s.Faults {
		if f.What == "master" {
			return true
		}
	}
	return false
}

// makePools makes one pool, or one for each tenant.
func (m *master) makePools(now balance.Instant, how balance.Policy) {
	n := 1
	if m.w.s.Pools != onePool {
		n = len(m.tenants)
	}
	m.pools, m.served = nil, make([]int, n)
	for i := range n {
		cfg := m.w.s.poolConfig()
		if n > 1 {
			cfg.Name = m.tenants[i]
		}
		m.pools = append(m.pools, balance.New(cfg, how, m.seed+m.lives<<32+uint64(i)<<48))
		if m.w.s.Pools == sharedPools && i > 0 {
			m.pools[0].ShareWith(now, m.pools[i])
		}
	}
	m.pool = m.pools[0]
}

// poolNumber returns the index of a request's pool.
func (m *master) poolNumber(r *request) int {
	if len(m.pools) == 1 {
		return 0
	}
	return int(r.tenant)
}

func (m *master) poolOf(r *request) *balance.Pool { return m.pools[m.poolNumber(r)] }

// reportedTo returns the pools that a server's report is given: one of those that share it tells the others.
func (m *master) reportedTo() []*balance.Pool {
	if m.w.s.Pools == sharedPools {
		return m.pools[:1]
	}
	return m.pools
}

// serveQueues serves the pools' queues in turns, as a master does.
func (m *master) serveQueues(now balance.Instant) {
	if len(m.waiting) == 0 {
		return
	}
	if len(m.pools) == 1 {
		m.releases = m.pool.Serve(now, m.releases[:0])
		m.release(now, 0)
		return
	}
	over := make([]bool, len(m.pools))
	for {
		next := -1
		for i, p := range m.pools {
			if p.Waiting() > 0 && !over[i] && (next < 0 || m.goesBefore(i, next)) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		m.releases = m.pools[next].ServeSome(now, m.releases[:0], 1)
		over[next] = len(m.releases) == 0
		m.turn++
		m.served[next] = m.turn
		m.release(now, next)
	}
}

// goesBefore reports whether pool i is served before pool j.
func (m *master) goesBefore(i, j int) bool {
	if a, b := m.pools[i].Open(), m.pools[j].Open(); a != b {
		return a < b
	}
	return m.served[i] < m.served[j]
}
