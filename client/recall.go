package client

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// This file tells a master that begins what the one before had learnt of servers, which edges have from their last snapshot.

// appendRecall sends the servers of a snapshot of which something had been learnt. snap may be nil.
func (t *edgeProtocol) appendRecall(snap *balance.Snapshot) {
	if snap == nil || !t.recalls {
		return
	}
	told := make([]balance.SnapshotServer, 0, len(snap.Servers))
	for i := range snap.Servers {
		if s := &snap.Servers[i]; s.Basis != balance.BasisNone {
			told = append(told, balance.SnapshotServer{ID: s.ID, Slots: s.Slots, Service: s.Service, Basis: s.Basis})
		}
	}
	if len(told) > 0 {
		t.out = (&wire.Snapshot{Snapshot: balance.Snapshot{Pool: snap.Pool, Servers: told}}).Append(t.out)
	}
}

// recall tells the master, which begins to lead, what was known of a pool under the one before. snap may be nil.
func (c *Client) recall(snap *balance.Snapshot) {
	c.loop.mu.Lock()
	if c.proto.stage == connected {
		c.proto.appendRecall(snap)
	}
	c.loop.writeAndUnlock()
}
