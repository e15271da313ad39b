package master

import (
	"math"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

const (
	changesAtMost = 100 * time.Millisecond // between two pushes of a pool, however much changes
	loadsEvery    = time.Second            // loads and capacities are told no more often
	piece         = 256                    // servers that are looked at under one lock
	softChange    = 32 << 10               // a change of about so many bytes goes on in another
)

// feed is what the edges that watch a pool have been told of it. They are all told the
// same, so a change is put together once. It goes by the pool's name: a pool may come
// after its watchers.
type feed struct {
	pool  string
	edges map[*edge]struct{} // guarded by peers.mu

	mu    sync.Mutex // guards the following; taken before a pool's and a connection's lock
	seq   uint64     // zero: nothing is told yet
	told  wire.Snapshot
	whole []byte // frames of told; nil: not put together since it changed

	change  wire.Change // being put together
	size    int         // of it, roughly
	out     []byte
	servers []balance.SnapshotServer // a piece of the pool
}

// due reports whether edges should hear of the pool now, and whether of loads too, and when
// to look again; zero: when the pool has changed. Wants p.mu held.
func (p *pool) due(now balance.Instant, watched bool) (due, loads bool, again balance.Instant) {
	if !watched {
		p.changed = false // a watch begins with a snapshot
		return false, false, 0
	}
	at := p.loadsTold.Add(loadsEvery)
	if p.changed {
		at = min(at, p.told.Add(changesAtMost))
	}
	if p.told != 0 && now < at {
		return false, false, at
	}
	if loads = p.loadsTold == 0 || now >= p.loadsTold.Add(loadsEvery); loads {
		p.loadsTold = now
	}
	p.told, p.changed = now, false
	return true, loads, p.loadsTold.Add(loadsEvery)
}

// push tells all who watch a pool what has changed of it.
func (m *Master) push(now balance.Instant, p *pool, loads bool) {
	f := m.peers.feed(p.name)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	edges := m.peers.watchers(f, p)
	frames := f.catchUp(now, p, loads, len(edges))
	for _, e := range edges {
		if len(frames) > 0 {
			e.send(frames)
		}
	}
}

// begin tells one edge of the pool as it was told to the others, all of whom watch it; p
// may be nil.
func (f *feed) begin(now balance.Instant, p *pool, e *edge, all []*edge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seq == 0 && p == nil {
		return // the first push will tell
	}
	if f.seq == 0 {
		f.catchUp(now, p, true, len(all))
		for _, other := range all {
			if other != e {
				other.send(f.all()) // it came before the pool, and changes alone would tell it nothing
			}
		}
	}
	e.send(f.all())
	if p != nil {
		p.mu.Lock()
		p.touch() // for there is an edge more
		p.mu.Unlock()
	}
}

// all returns the frames of a whole snapshot.
func (f *feed) all() []byte {
	if f.whole == nil {
		f.told.Seq = f.seq
		f.whole = f.told.Append(nil)
	}
	return f.whole
}

// catchUp makes told what the pool is, in pieces so that asks need not wait long, and
// returns what edges must be sent to know it too.
func (f *feed) catchUp(now balance.Instant, p *pool, loads bool, edges int) []byte {
	first := f.seq == 0
	f.out, f.size = f.out[:0], 0
	for from := 0; ; from += piece {
		p.mu.Lock()
		n, version := p.core.Servers()
		f.servers = p.core.Tell(now, f.servers[:0], from, from+piece)
		dispatch := p.cfg.Dispatch
		p.mu.Unlock()
		for i := range f.servers {
			f.compare(from+i, &f.servers[i], loads)
		}
		clear(f.servers)
		last, t := from+piece >= n, &f.told.Snapshot
		if last {
			if version != t.Version || dispatch != t.Dispatch || edges != t.Edges || n != len(t.Servers) {
				f.size++
			}
			clear(t.Servers[min(n, len(t.Servers)):])
			t.Servers = t.Servers[:min(n, len(t.Servers))]
			t.Pool, t.Version, t.Dispatch, t.Edges = f.pool, version, dispatch, edges
		}
		if f.size > softChange || last && f.size > 0 {
			f.flush(first)
		}
		if last {
			break
		}
	}
	if first {
		f.seq = max(f.seq, 1)
		return f.all()
	}
	return f.out
}

// flush ends a change and writes it, unless all is to be told anyway.
func (f *feed) flush(first bool) {
	f.seq++
	c, t := &f.change, &f.told.Snapshot
	if !first {
		c.Pool, c.Version, c.Dispatch, c.Edges, c.Count, c.Seq = f.pool, t.Version, t.Dispatch, t.Edges, len(t.Servers), f.seq
		f.out = c.Append(f.out)
	}
	clear(c.Servers)
	c.Servers, c.Loads, c.Capacities, f.size = c.Servers[:0], c.Loads[:0], c.Capacities[:0], 0
	f.whole = nil
}

// compare puts into the change how a server differs from what was told of its place.
func (f *feed) compare(at int, s *balance.SnapshotServer, loads bool) {
	servers := f.told.Snapshot.Servers
	switch {
	case at > len(servers): // the pool has shrunk and grown meanwhile: the next time finds it
	case at == len(servers):
		f.told.Snapshot.Servers = append(servers, *s)
		f.place(at, s)
	case s.ID != servers[at].ID || s.Address != servers[at].Address || s.At != servers[at].At || s.Public != servers[at].Public || s.State != servers[at].State:
		servers[at] = *s
		f.place(at, s)
	case loads:
		f.move(at, &servers[at], s)
	}
}

func (f *feed) place(at int, s *balance.SnapshotServer) {
	f.change.Servers = append(f.change.Servers, wire.Placed{At: at, Server: *s})
	f.size += len(s.ID) + len(s.Address) + len(s.At) + len(s.Public) + 48
}

func (f *feed) move(at int, told, s *balance.SnapshotServer) {
	if moved(told.Load, s.Load, .25, 1) {
		l := wire.Load{At: at, Load: float32(s.Load)}
		told.Load = float64(l.Load)
		f.change.Loads = append(f.change.Loads, l)
		f.size += 5
	}
	if moved(told.Slots, s.Slots, 1./16, 0) || moved(told.Service, s.Service, 1./16, 0) {
		c := wire.Capacity{At: at, Slots: float32(s.Slots), Service: float32(s.Service)}
		told.Slots, told.Service = float64(c.Slots), float64(c.Service)
		f.change.Capacities = append(f.change.Capacities, c)
		f.size += 9
	}
}

// moved reports whether a figure is so far from what was told that it is worth telling.
func moved(told, now, share, least float64) bool {
	d := math.Abs(now - told)
	return d > 1e-6*told && d >= share*told && d >= least
}
