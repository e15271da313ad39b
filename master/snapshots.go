package master

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

const (
	minPushInterval = 100 * time.Millisecond // between two pushes of a pool, however much changes
	loadsInterval   = time.Second            // loads and capacities are sent no more often
	chunk           = 256                    // servers that are visited under one lock
	maxChange       = 32 << 10               // bytes; a larger change is split, roughly here
)

// feed is what the edges that watch a pool have been sent of it. All are sent the same, so a change is encoded
// once. It is found by the pool's name: a pool may be opened after edges have begun to watch it.
type feed struct {
	pool  string
	peers *peers             // whose feed it is; nil in some tests
	edges map[*edge]struct{} // guarded by peers.mu

	mu         sync.Mutex // guards the following; taken before a pool's and a connection's lock
	seq        uint64     // zero: nothing is sent yet
	sent       wire.Snapshot
	fullFrames []byte // encoded sent; nil: it has changed since

	change  wire.Change // being built
	size    int         // of change, roughly, in bytes
	out     []byte
	servers []balance.SnapshotServer // a chunk of the pool
}

// pushDueLocked reports whether edges are due to be sent the pool's changes, and whether loads too. again is
// when to ask next; zero: when the pool has changed.
func (p *pool) pushDueLocked(now balance.Instant, watched bool) (due, loads bool, again balance.Instant) {
	if !watched {
		p.changed = false // a watch begins with a snapshot
		return false, false, 0
	}
	at := p.lastLoads.Add(loadsInterval)
	if p.changed {
		at = min(at, p.lastPush.Add(minPushInterval))
	}
	if p.lastPush != 0 && now < at {
		return false, false, at
	}
	if loads = p.lastLoads == 0 || now >= p.lastLoads.Add(loadsInterval); loads {
		p.lastLoads = now
	}
	p.lastPush, p.changed = now, false
	return true, loads, p.lastLoads.Add(loadsInterval)
}

// sendChanges sends all watching edges what has changed of a pool.
func (m *Master) sendChanges(now balance.Instant, p *pool, loads bool) {
	f := m.peers.feedOf(p.name)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	edges := m.peers.watchers(f, p)
	frames := f.collectChanges(now, p, loads, edges)
	for _, e := range edges {
		if len(frames) > 0 {
			e.send(frames)
		}
	}
}

// sendSnapshotTo sends one edge the pool's state that the other watching edges, all, have been sent. p may be
// nil.
func (f *feed) sendSnapshotTo(now balance.Instant, p *pool, e *edge, all []*edge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seq == 0 && p == nil {
		return // the first push sends it
	}
	if f.seq == 0 {
		f.collectChanges(now, p, true, all)
		for _, other := range all {
			if other != e {
				other.send(f.snapshotFrames()) // it has watched since before the pool was opened, and changes need a snapshot
			}
		}
	}
	e.send(f.snapshotFrames())
	if p != nil {
		p.mu.Lock()
		for _, q := range p.mu.group.Load().pools {
			q.markChangedLocked() // there is one edge more
		}
		p.mu.Unlock()
	}
}

// forget has the feed begin anew, after its pool has been removed: an edge that watches from now on is not told of its servers, and one
// that is opened later begins with a snapshot, by which edges know that it is there again.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq, f.sent, f.fullFrames = 0, wire.Snapshot{}, nil
}

// snapshotFrames returns the frames of a whole snapshot.
func (f *feed) snapshotFrames() []byte {
	if f.fullFrames == nil {
		f.sent.Seq = f.seq
		f.fullFrames = f.sent.Append(nil)
	}
	return f.fullFrames
}

// collectChanges updates sent to the pool's state, in chunks so that asks need not wait long, and returns the
// frames that edges have to be sent.
func (f *feed) collectChanges(now balance.Instant, p *pool, loads bool, watching []*edge) []byte {
	edges, capped, awaits := len(watching), false, false
	var sharing []*pool
	first := f.seq == 0
	f.out, f.size = f.out[:0], 0
	for from := 0; ; from += chunk {
		p.mu.Lock()
		n, version := p.core.Servers()
		f.servers = p.core.Tell(now, f.servers[:0], from, from+chunk)
		dispatch, local, canary := p.cfg.Dispatch, p.core.LocalFrom(), p.core.CanaryPart(now)
		awaits, sharing = p.core.Awaits(now), p.sharersLocked()
		p.mu.Unlock()
		for i := range f.servers {
			f.compareServer(from+i, &f.servers[i], loads)
			capped = capped || f.servers[i].Cap > 0
			if f.size > maxChange {
				f.flushChange(first)
			}
		}
		clear(f.servers)
		last, t := from+chunk >= n, &f.sent.Snapshot
		if last {
			if sharers := sharersOf(f.withSharers(watching, sharing), capped && !awaits); !slices.Equal(sharers, t.Sharers) {
				t.Sharers = sharers
				f.size++
			}
			if version != t.Version || dispatch != t.Dispatch || local != t.LocalFrom || canary != t.Canary || edges != t.Edges || n != len(t.Servers) {
				f.size++
			}
			clear(t.Servers[min(n, len(t.Servers)):])
			t.Servers = t.Servers[:min(n, len(t.Servers))]
			t.Pool, t.Version, t.Dispatch, t.LocalFrom, t.Canary, t.Edges = f.pool, version, dispatch, local, canary, edges
		}
		if last && f.size > 0 {
			f.flushChange(first)
		}
		if last {
			break
		}
	}
	if first {
		f.seq = max(f.seq, 1)
		return f.snapshotFrames()
	}
	return f.out
}

// withSharers returns the edges and those of the pools that share servers with the feed's.
func (f *feed) withSharers(edges []*edge, sharing []*pool) []*edge {
	for _, q := range sharing {
		if other := f.peers.feedOf(q.name); other != nil {
			edges = append(slices.Clip(edges), f.peers.watchers(other, q)...)
		}
	}
	return edges
}

// sharersOf returns the ids of the edges that share servers' caps, in order. It returns nil if told is false: no server has a cap, or
// edges may still have to come back. To those that are back their shares would seem larger than the others know.
func sharersOf(edges []*edge, told bool) (ids []balance.EdgeID) {
	if !told {
		return nil
	}
	for _, e := range edges {
		ids = append(ids, e.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// flushChange ends a change and encodes it, unless a whole snapshot is sent anyway.
func (f *feed) flushChange(first bool) {
	f.seq++
	c, t := &f.change, &f.sent.Snapshot
	if !first {
		c.Pool, c.Version, c.Dispatch, c.LocalFrom, c.Edges, c.Count, c.Seq = f.pool, t.Version, t.Dispatch, t.LocalFrom, t.Edges, len(t.Servers), f.seq
		c.Sharers, c.Canary = t.Sharers, t.Canary
		f.out = c.Append(f.out)
	}
	clear(c.Servers)
	c.Servers, c.Loads, c.Capacities, f.size = c.Servers[:0], c.Loads[:0], c.Capacities[:0], 0
	f.fullFrames = nil
}

// compareServer adds to the change how a server differs from what was sent for its place.
func (f *feed) compareServer(at int, s *balance.SnapshotServer, loads bool) {
	servers := f.sent.Snapshot.Servers
	switch {
	case at > len(servers): // the pool has shrunk and grown meanwhile: the next push finds it
	case at == len(servers):
		f.sent.Snapshot.Servers = append(servers, *s)
		f.addServer(at, s)
	case !isTold(&servers[at], s):
		servers[at] = *s
		f.addServer(at, s)
	case loads:
		f.addFigures(at, &servers[at], s)
	}
}

// isTold reports whether all but the figures is as it was sent.
func isTold(sent, s *balance.SnapshotServer) bool {
	return s.ID == sent.ID && s.Address == sent.Address && s.At == sent.At && s.Public == sent.Public && s.Cap == sent.Cap && s.Kind == sent.Kind && s.Basis == sent.Basis &&
		s.State == sent.State && slices.Equal(s.Labels, sent.Labels)
}

func (f *feed) addServer(at int, s *balance.SnapshotServer) {
	f.change.Servers = append(f.change.Servers, wire.Placed{At: at, Server: *s})
	f.size += len(s.ID) + len(s.Address) + len(s.At) + len(s.Public) + 48
	for _, l := range s.Labels {
		f.size += len(l.Key) + len(l.Value) + 8
	}
}

func (f *feed) addFigures(at int, told, s *balance.SnapshotServer) {
	if differs(told.Load, s.Load, .25, 1) {
		l := wire.Load{At: at, Load: float32(s.Load)}
		told.Load = float64(l.Load)
		f.change.Loads = append(f.change.Loads, l)
		f.size += 5
	}
	if differs(told.Slots, s.Slots, 1./16, 0) || differs(told.Service, s.Service, 1./16, 0) {
		c := wire.Capacity{At: at, Slots: float32(s.Slots), Service: float32(s.Service)}
		told.Slots, told.Service = float64(c.Slots), float64(c.Service)
		f.change.Capacities = append(f.change.Capacities, c)
		f.size += 9
	}
}

// differs reports whether a figure is so far from what was sent that it has to be sent again.
func differs(told, now, share, least float64) bool {
	d := math.Abs(now - told)
	return d > 1e-6*told && d >= share*told && d >= least
}
