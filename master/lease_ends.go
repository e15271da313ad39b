package master

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// This file tells agents which leases of their servers are over. A server that has accepted a dispatch would otherwise
// go on with work that no client waits for.

// sendEnds tells the agents of a pool's servers of leases that have ended. The pool must not be locked.
func (m *Master) sendEnds(pool string, ends []balance.LeaseEnd) {
	for _, e := range ends {
		if a := m.peers.agentOf(pool, e.Server); a != nil {
			a.send((&wire.Ended{Lease: e.Lease, Result: e.Result}).Append(nil))
		}
	}
}

// onWorking answers which of the leases that the agent's server works on are over. While edges may still bring leases
// to this master it does not know, and the agent asks again.
func (a *agent) onWorking(now balance.Instant, payload []byte) error {
	var w wire.Working
	if err := w.Decode(payload); err != nil {
		return err
	}
	if a.pool == nil {
		return nil
	}
	p := a.lockPool()
	if !p.isLeadingLocked(now) || p.core.Awaits(now) {
		return nil
	}
	for _, id := range w.Leases {
		if _, open := p.core.Lease(id); !open {
			a.out = (&wire.Ended{Lease: id, Lost: true}).Append(a.out)
		}
	}
	return nil
}
