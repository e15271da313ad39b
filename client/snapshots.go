package client

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// poolState is what an edge knows of a watched pool. Changes are applied as they come; a Snapshot, which is
// immutable, is built only on demand.
type poolState struct {
	latest atomic.Pointer[balance.Snapshot] // the last one built
	stale  atomic.Bool                      // current has changed since latest was built
	local  atomic.Int64                     // current.LocalFrom; zero without a connection

	current   balance.Snapshot // its Servers are modified in place
	seq       uint64           // of the last change; only valid if complete
	complete  bool             // a snapshot has come over this connection, and no change was missed since
	partial   balance.Snapshot // a snapshot whose last frame has not come
	receiving bool             // partial is in use
}

// snapshot returns what is known of a watched pool; nil: nothing yet. A server is draining in it as soon as
// its Drain has come, before a change says so.
func (p *pool) snapshot(overrides *overrides) *balance.Snapshot {
	if k := &p.state; k.stale.Load() {
		s := k.current
		s.Servers = slices.Clone(s.Servers)
		overrides.markDraining(p.name, s.Servers)
		k.latest.Store(&s)
		k.stale.Store(false)
	}
	return p.state.latest.Load()
}

// snapshotTimeout is how long a requested snapshot is expected. None comes for a pool that the master does not
// have.
const snapshotTimeout = time.Second

// appendWatch requests the snapshot of a pool.
func (t *edgeProtocol) appendWatch(now balance.Instant, p *pool) {
	t.out = (&wire.Watch{Pool: p.name}).Append(t.out)
	t.snapshotSince, t.urgent = now, true
}

// onSnapshot stores a snapshot once all its frames have come.
func (t *edgeProtocol) onSnapshot(payload []byte) error {
	m := &t.snapshot
	if err := m.Decode(payload); err != nil {
		return err
	}
	p := t.pools[m.Snapshot.Pool]
	if p == nil || !slices.Contains(t.watched, p) {
		return nil
	}
	k, part := &p.state, &p.state.partial
	if !k.receiving || part.Version != m.Snapshot.Version {
		k.receiving = true
		part.Version, part.Servers = m.Snapshot.Version, part.Servers[:0]
	}
	for i := range m.Snapshot.Servers {
		part.Servers = append(part.Servers, p.cloneServer(&m.Snapshot.Servers[i]))
	}
	clear(m.Snapshot.Servers) // their strings share a buffer that is about to be reused
	if len(part.Servers) > wire.MaxPlaces {
		return &wire.FrameError{What: fmt.Sprintf("snapshot of pool %s: more than %d servers", p.name, wire.MaxPlaces)}
	}
	if m.More {
		return nil
	}
	k.current = balance.Snapshot{Pool: p.name, Version: m.Snapshot.Version, Dispatch: m.Snapshot.Dispatch, Servers: part.Servers, Edges: m.Snapshot.Edges, LocalFrom: m.Snapshot.LocalFrom,
		Canary: m.Snapshot.Canary, Sharers: k.current.Sharers, Place: k.current.Place}
	k.local.Store(int64(m.Snapshot.LocalFrom))
	k.share(balance.EdgeID(t.hello.ID), m.Snapshot.Sharers)
	p.missing = ""
	k.seq, k.complete, k.receiving, k.partial = m.Seq, true, false, balance.Snapshot{}
	k.stale.Store(true)
	t.leaderChanged = true // its master may have caught up with the previous snapshot
	if !slices.ContainsFunc(t.watched, func(p *pool) bool { return !p.state.complete }) {
		t.snapshotSince = 0
	}
	return nil
}

// cloneServer returns a copy of a server that shares no buffer.
func (p *pool) cloneServer(s *balance.SnapshotServer) balance.SnapshotServer {
	n := p.namesOf(&balance.Grant{Server: s.ID, Address: s.Address, At: s.At, Public: s.Public})
	return balance.SnapshotServer{ID: n.id, Address: n.address, At: n.at, Public: n.public, State: s.State, Slots: s.Slots, Service: s.Service, Load: s.Load, Cap: s.Cap, Kind: s.Kind, Basis: s.Basis, Labels: cloneLabels(s.Labels)}
}

func cloneLabels(labels []balance.Label) []balance.Label {
	own := slices.Clone(labels)
	for i, l := range own {
		own[i] = balance.Label{Key: strings.Clone(l.Key), Value: strings.Clone(l.Value)}
	}
	return own
}

// share stores which edges share servers' caps. Their names share a buffer that is about to be reused. A master that has just begun names
// none: until it does, those count that the one before has named, to this edge as to the others.
func (k *poolState) share(own balance.EdgeID, sharers []balance.EdgeID) {
	if len(sharers) == 0 || slices.Equal(k.current.Sharers, sharers) {
		return
	}
	mine := make([]balance.EdgeID, len(sharers)) // readers have the former list
	for i, id := range sharers {
		mine[i] = balance.EdgeID(strings.Clone(string(id)))
	}
	k.current.Sharers, k.current.Place = mine, slices.Index(mine, own)
}

// onChange applies a change of a pool, or requests a whole snapshot if an earlier change was missed.
func (t *edgeProtocol) onChange(now balance.Instant, payload []byte) error {
	m := &t.change
	if err := m.Decode(payload); err != nil {
		return err
	}
	p := t.pools[m.Pool]
	if p == nil || !slices.Contains(t.watched, p) || !p.state.complete {
		return nil
	}
	k := &p.state
	if m.Seq != k.seq+1 {
		k.complete = false
		t.appendWatch(now, p)
		return nil
	}
	if wrong := p.apply(m); wrong != "" {
		return &wire.FrameError{What: fmt.Sprintf("change %d of pool %s: %s", m.Seq, p.name, wrong)}
	}
	clear(m.Servers)
	k.seq, k.current.Version, k.current.Dispatch, k.current.Edges, k.current.LocalFrom = m.Seq, m.Version, m.Dispatch, m.Edges, m.LocalFrom
	k.current.Canary = m.Canary
	k.local.Store(int64(m.LocalFrom))
	k.share(balance.EdgeID(t.hello.ID), m.Sharers)
	k.stale.Store(true)
	t.leaderChanged = t.leaderChanged || now.Sub(t.firstWelcome) < agentReturnTime
	return nil
}

// apply applies a change and returns what is wrong with it; empty: nothing is.
func (p *pool) apply(m *wire.Change) (wrong string) {
	all := p.state.current.Servers
	for i := range m.Servers {
		switch at := m.Servers[i].At; {
		case at < len(all):
			all[at] = p.cloneServer(&m.Servers[i].Server)
		case at == len(all):
			all = append(all, p.cloneServer(&m.Servers[i].Server))
		default:
			return fmt.Sprintf("a server in place %d, of %d", at, len(all))
		}
	}
	if m.Count > len(all) {
		return fmt.Sprintf("%d servers, but only %d were sent", m.Count, len(all))
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
	p.state.current.Servers = all
	return ""
}
