package client

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// known is what an edge has been told of a pool that it watches. Changes are entered into
// it as they come; a Snapshot, which must never change, is only made for who wants one.
type known struct {
	latest atomic.Pointer[balance.Snapshot] // the last one made
	stale  atomic.Bool                      // there is more to know

	now     balance.Snapshot // its Servers are written to
	seq     uint64           // of the last change; meaningless unless whole
	whole   bool             // a snapshot has come over this connection, and no gap after it
	partial balance.Snapshot // of which more frames follow
	halfway bool             // through partial
}

// snapshot returns what is known of a pool that is watched; nil: nothing yet. A server is
// draining in it as soon as that was told, before a change says so.
func (p *pool) snapshot(drains *drains) *balance.Snapshot {
	if k := &p.known; k.stale.Load() {
		s := k.now
		s.Servers = slices.Clone(s.Servers)
		drains.mark(p.name, s.Servers)
		k.latest.Store(&s)
		k.stale.Store(false)
	}
	return p.known.latest.Load()
}

// awaitSnapshot is how long a snapshot that was asked for is waited for. None comes of a
// pool that the master does not have.
const awaitSnapshot = time.Second

// watch asks for the snapshot of a pool.
func (t *edgeTalk) watch(now balance.Instant, p *pool) {
	t.out = (&wire.Watch{Pool: p.name}).Append(t.out)
	t.behind, t.urgent = now, true
}

// keepSnapshot takes over a snapshot once all its frames are here.
func (t *edgeTalk) keepSnapshot(payload []byte) error {
	m := &t.snapshot
	if err := m.Decode(payload); err != nil {
		return err
	}
	p := t.pools[m.Snapshot.Pool]
	if p == nil || !slices.Contains(t.watched, p) {
		return nil
	}
	k, part := &p.known, &p.known.partial
	if !k.halfway || part.Version != m.Snapshot.Version {
		k.halfway = true
		part.Version, part.Servers = m.Snapshot.Version, part.Servers[:0]
	}
	for i := range m.Snapshot.Servers {
		part.Servers = append(part.Servers, p.own(&m.Snapshot.Servers[i]))
	}
	clear(m.Snapshot.Servers) // their strings lie in a buffer that will be another's
	if len(part.Servers) > wire.MaxPlaces {
		return &wire.FrameError{What: fmt.Sprintf("snapshot of pool %s: more than %d servers", p.name, wire.MaxPlaces)}
	}
	if m.More {
		return nil
	}
	k.now = balance.Snapshot{Pool: p.name, Version: m.Snapshot.Version, Dispatch: m.Snapshot.Dispatch, Servers: part.Servers, Edges: m.Snapshot.Edges}
	k.seq, k.whole, k.halfway, k.partial = m.Seq, true, false, balance.Snapshot{}
	k.stale.Store(true)
	t.turned = true // its master may have come back to what was known before
	if !slices.ContainsFunc(t.watched, func(p *pool) bool { return !p.known.whole }) {
		t.behind = 0
	}
	return nil
}

// own returns a server whose strings do not lie in a buffer.
func (p *pool) own(s *balance.SnapshotServer) balance.SnapshotServer {
	n := p.names(&balance.Grant{Server: s.ID, Address: s.Address, At: s.At, Public: s.Public})
	return balance.SnapshotServer{ID: n.id, Address: n.address, At: n.at, Public: n.public, State: s.State, Slots: s.Slots, Service: s.Service, Load: s.Load}
}

// keepChange enters what has changed of a pool, or asks for a whole snapshot if a change
// before it was missed.
func (t *edgeTalk) keepChange(now balance.Instant, payload []byte) error {
	m := &t.change
	if err := m.Decode(payload); err != nil {
		return err
	}
	p := t.pools[m.Pool]
	if p == nil || !slices.Contains(t.watched, p) || !p.known.whole {
		return nil
	}
	k := &p.known
	if m.Seq != k.seq+1 {
		k.whole = false
		t.watch(now, p)
		return nil
	}
	if wrong := p.enter(m); wrong != "" {
		return &wire.FrameError{What: fmt.Sprintf("change %d of pool %s: %s", m.Seq, p.name, wrong)}
	}
	clear(m.Servers)
	k.seq, k.now.Version, k.now.Dispatch, k.now.Edges = m.Seq, m.Version, m.Dispatch, m.Edges
	k.stale.Store(true)
	t.turned = t.turned || now.Sub(t.met) < comeBack
	return nil
}

// enter enters a change into what is known, and tells what is wrong with it.
func (p *pool) enter(m *wire.Change) (wrong string) {
	all := p.known.now.Servers
	for i := range m.Servers {
		switch at := m.Servers[i].At; {
		case at < len(all):
			all[at] = p.own(&m.Servers[i].Server)
		case at == len(all):
			all = append(all, p.own(&m.Servers[i].Server))
		default:
			return fmt.Sprintf("a server in place %d, of %d", at, len(all))
		}
	}
	if m.Count > len(all) {
		return fmt.Sprintf("%d servers, but only %d were told", m.Count, len(all))
	}
	clear(all[m.Count:])
	all = all[:m.Count]
	for _, l := range m.Loads {
		if l.At >= len(all) {
			return fmt.Sprintf("a load in place %d, of %d", l.At, len(all))
		}
		all[l.At].Load = float64(l.Load)
	}
	for _, c := range m.Capacities {
		if c.At >= len(all) {
			return fmt.Sprintf("a capacity in place %d, of %d", c.At, len(all))
		}
		all[c.At].Slots, all[c.At].Service = float64(c.Slots), float64(c.Service)
	}
	p.known.now.Servers = all
	return ""
}
