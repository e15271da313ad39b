package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// onRecall takes what the edge had of a pool from the master before.
func (e *edge) onRecall(now balance.Instant, payload []byte) error {
	var m wire.Snapshot
	if err := m.Decode(payload); err != nil {
		return err
	}
	p := e.lockPool(m.Snapshot.Pool)
	if p == nil {
		e.faults.add(fmt.Errorf("snapshot of pool %q, which is not here", clip(m.Snapshot.Pool)))
		return nil
	}
	p.core.Recall(now, m.Snapshot.Servers)
	return nil
}
