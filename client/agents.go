package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Agents keeps a server registered in several pools: an Agent for each.
type Agents []*Agent

// NewAgents returns Agents that are idle until Run. cfg.Pool is ignored.
func NewAgents(cfg AgentConfig, pools []string) (all Agents, err error) {
	for _, pool := range pools {
		cfg.Pool = pool
		a, err := NewAgent(cfg)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, errors.New("pool: none, want one at least")
	}
	for _, a := range all[1:] {
		for _, k := range a.conns {
			k.parentTally = &all[0].refused
		}
	}
	return all, nil
}

// Run is Agent.Run of each pool.
func (all Agents) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, a := range all {
		running.Go(func() { _ = a.Run(ctx) }) // it returns nil
	}
	running.Wait()
	return nil
}

// Connected reports whether every pool has a master that is connected.
func (all Agents) Connected() bool {
	for _, a := range all {
		if !a.Connected() {
			return false
		}
	}
	return true
}

// Problem returns the masters' refusals, if a person has to fix them; else nil.
func (all Agents) Problem() error {
	var problems []error
	for _, a := range all {
		if err := a.Problem(); err != nil && len(all) > 1 {
			err = fmt.Errorf("pool %s: %w", a.cfg.Pool, err)
			problems = append(problems, err)
		} else if err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// Report sends the server's load metrics to every master by the first pool that is connected: a master that has the server in
// several pools counts it once.
func (all Agents) Report(r balance.Report) {
	for _, a := range all {
		if a.Connected() {
			a.Report(r)
			return
		}
	}
	all[0].Report(r)
}

// Serving tells every master, in every pool, whether the server can serve.
func (all Agents) Serving(problem string) {
	for _, a := range all {
		a.Serving(problem)
	}
}

// Done ends a lease on behalf of the server. Every pool is told; those that do not have the lease ignore it.
func (all Agents) Done(lease balance.TaggedLease, o balance.Outcome) {
	for _, a := range all {
		a.Done(lease, o)
	}
}

// Refused counts the connections that were refused, of all pools.
func (all Agents) Refused() *trust.Tally { return all[0].Refused() }

// CertificateEnds returns when the agent's certificate expires.
func (all Agents) CertificateEnds() float64 { return all[0].CertificateEnds() }
