package exchange

import (
	"slices"
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// overlaps is which servers stand in several of the edge's pools, by the pools' snapshots. While no master answers, the edge counts its
// requests to such a server over all pools.
type overlaps struct {
	mu     sync.Mutex // held over memory work only, and while an edge chooses without a master; taken before a pool's lock
	snaps  []*balance.Snapshot
	others map[place][]place // the same server in other pools; servers of one pool do not stand in it
}

// place is a server in a pool, by the pool's number.
type place struct {
	pool   int
	server balance.ServerID
}

// fallback chooses a server without a master, and counts the link to it: no other request is to choose before.
func (d *Deps) fallback(now balance.Instant, p *Pool, snap *balance.Snapshot, exclude []balance.ServerID) (s balance.SnapshotServer, link *int, reason string) {
	o := &d.overlaps
	o.mu.Lock()
	defer o.mu.Unlock()
	o.update(d)
	if s, reason = p.fallback(now, snap, exclude, o.elsewhere(d, p, snap)); reason == "" {
		link = p.countLink(s.ID)
	}
	return s, link, reason
}

// update finds the servers again if a snapshot has changed. o is locked.
func (o *overlaps) update(d *Deps) {
	snaps := make([]*balance.Snapshot, len(d.Pools))
	for i, p := range d.Pools {
		if d.snapshots != nil {
			snaps[i] = d.snapshots.Snapshot(p.Name)
		}
	}
	if slices.Equal(snaps, o.snaps) {
		return // nearly always: without a master nothing changes
	}
	o.snaps, o.others = snaps, nil
	at := make(map[string][]place)
	for i, snap := range snaps {
		if snap == nil {
			continue
		}
		for j := range snap.Servers {
			s := &snap.Servers[j]
			address := balance.SharedAddress(s.Address)
			at[address] = append(at[address], place{i, s.ID})
		}
	}
	for _, same := range at {
		o.enter(same)
	}
}

// enter takes the places of one server. o is locked.
func (o *overlaps) enter(same []place) {
	for _, a := range same {
		for _, b := range same {
			if a.pool == b.pool {
				continue
			}
			if o.others == nil {
				o.others = make(map[place][]place)
			}
			o.others[a] = append(o.others[a], b)
		}
	}
}

// elsewhere returns how many links of the edge's other pools there are to servers of a pool; nil: it shares none. o is locked.
func (o *overlaps) elsewhere(d *Deps, p *Pool, snap *balance.Snapshot) map[balance.ServerID]int {
	if o.others == nil || snap == nil {
		return nil
	}
	links := make(map[balance.ServerID]int)
	for i := range snap.Servers {
		id := snap.Servers[i].ID
		for _, other := range o.others[place{p.number, id}] {
			if n := d.Pools[other.pool].links(other.server); n > 0 {
				links[id] += n
			}
		}
	}
	return links
}
