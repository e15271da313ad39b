package master

import (
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

const (
	pushAtMost  = 100 * time.Millisecond // between two snapshots of a pool, however much changes
	pushAtLeast = time.Second            // between two, if only loads change
)

// news returns a snapshot if one is due, and when to look again; zero: when the
// pool has changed. Wants p.mu held.
func (p *pool) news(now balance.Instant, watched bool) (*balance.Snapshot, balance.Instant) {
	if !watched {
		p.changed = false // a watch begins with a snapshot
		return nil, 0
	}
	due := p.pushed.Add(pushAtLeast)
	if p.changed {
		due = p.pushed.Add(pushAtMost)
	}
	if p.pushed != 0 && now < due {
		return nil, due
	}
	s := p.snapshot(now)
	same := !p.changed && slices.Equal(s.Servers, p.told)
	p.pushed, p.changed, p.told = now, false, s.Servers
	if same {
		s = nil
	}
	return s, now.Add(pushAtLeast)
}

// push sends a snapshot to every edge that watches its pool.
func (m *Master) push(s *balance.Snapshot) {
	frame := (&wire.Snapshot{Snapshot: *s}).Append(nil)
	for _, c := range m.peers.watchers(s.Pool) {
		c.send(frame)
	}
}
