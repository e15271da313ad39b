package balance

import "container/heap"

// ledger holds the open leases of a pool: the exact count of what is in flight. A
// lease stands in a slot; its id names epoch, generation and slot, so finding it
// is an index and a comparison.
//
//	| epoch 16 | generation 24 | slot 24 |
type ledger struct {
	epoch   uint16
	leases  []lease
	open    int
	oldest  uint32              // free slot, if freed > 0; the others follow by lease.next
	newest  uint32              // free slot
	freed   int                 // free slots: reused first in first out so that generations last
	adopted map[LeaseID]adopted // leases that another life of this pool granted
	leaseEnds
	expiry expiryHeap // leases with a time limit; entries whose time has changed are stale
}

// adopted is a lease under an id that is not the ledger's own.
type adopted struct {
	slot uint32
	tag  uint64 // as its edge told it; zero: it has none
}

type lease struct {
	id      LeaseID // zero: the slot is free
	server  *Server
	started Instant
	expires Instant // zero: never
	edge    int32   // index in Pool.edges; 0: no edge
	crowd   float32 // requests at the server with this one, when it was granted
	gen     uint32
	next    uint32 // free slot after this one
	chosen  bool   // its edge chose the server, and told the pool afterwards
	class   uint8  // number in Pool.classes; 0: none
	ages    bool   // its work becomes less as time passes
	idle    bool   // the server owes nothing: the request is redirected, or its edge waits for the client
	client  ClientPrefix
	charged float32 // seconds for which its tenant has paid; zero: none, as the request did not wait
	level   uint16  // of its class, in Pool.sizes; 0: none
	tenant  *tenant // nil: none of which something is remembered
	size    float64 // as its request told it; zero: it did not
	work    float64 // that its request is expected to be; zero: it is not counted
	stress  float64 // by how much its cost grows with each unit of time that it takes longer
	began   float64 // workload.got when it came
}

const (
	slotBits = 24
	genBits  = 24
	maxOpen  = 1 << slotBits
)

// add opens a lease under an id of its own; ok is false when the ledger is full.
func (l *ledger) add(s *Server, edge int32, started, expires Instant) (at *lease, ok bool) {
	slot, ok := l.slot()
	if !ok {
		return nil, false
	}
	at = &l.leases[slot]
	at.gen = (at.gen + 1) & (1<<genBits - 1)
	at.id = LeaseID(uint64(l.epoch)<<(genBits+slotBits) | uint64(at.gen)<<slotBits | uint64(slot))
	l.fill(at, s, edge, started, expires)
	return at, true
}

// adopt opens a lease under the id that another life of this pool gave it.
func (l *ledger) adopt(id LeaseID, tag uint64, s *Server, edge int32, started, expires Instant) (ok bool) {
	slot, ok := l.slot()
	if !ok {
		return false
	}
	if l.adopted == nil {
		l.adopted = make(map[LeaseID]adopted)
	}
	l.adopted[id] = adopted{slot, tag}
	at := &l.leases[slot]
	at.id = id
	l.fill(at, s, edge, started, expires)
	return true
}

func (l *ledger) fill(at *lease, s *Server, edge int32, started, expires Instant) {
	at.server, at.edge, at.started, at.crowd, at.client, at.idle, at.chosen, at.class = s, edge, started, 0, 0, false, false, 0
	at.charged, at.tenant = 0, nil
	at.size, at.level, at.work, at.stress, at.began, at.ages = 0, 0, 0, 0, 0, false
	l.open++
	if at.expires = expires; expires != 0 {
		heap.Push(&l.expiry, expiry{expires, at.id})
	}
}

func (l *ledger) slot() (uint32, bool) {
	// A free slot rests until a quarter of all are free, so that an id comes back late.
	if l.freed > 0 && (l.freed > len(l.leases)/4 || len(l.leases) == maxOpen) {
		slot := l.oldest
		l.oldest = l.leases[slot].next
		l.freed--
		return slot, true
	}
	if len(l.leases) == maxOpen {
		return 0, false
	}
	l.leases = append(l.leases, lease{})
	return uint32(len(l.leases) - 1), true
}

// isToCome reports whether the ledger will give the id to a lease that it has not granted yet.
func (l *ledger) isToCome(id LeaseID) bool {
	if uint64(id)>>(genBits+slotBits) != uint64(l.epoch) {
		return false
	}
	slot, gen := uint32(id&(maxOpen-1)), uint32(id>>slotBits)&(1<<genBits-1)
	const half = 1 << (genBits - 1) // generations wrap around
	return int(slot) >= len(l.leases) || (gen-l.leases[slot].gen)&(1<<genBits-1)-1 < half
}

// find returns an open lease, or nil.
func (l *ledger) find(id LeaseID) *lease {
	slot := uint32(id & (maxOpen - 1))
	if len(l.adopted) > 0 {
		if own, adopted := l.adopted[id]; adopted {
			slot = own.slot
		}
	}
	if int(slot) >= len(l.leases) || l.leases[slot].id != id || id == 0 {
		return nil
	}
	return &l.leases[slot]
}

// drop closes a lease that find returned.
func (l *ledger) drop(at *lease) {
	slot := uint32(at.id & (maxOpen - 1))
	if len(l.adopted) > 0 {
		if own, adopted := l.adopted[at.id]; adopted {
			delete(l.adopted, at.id)
			slot = own.slot
		}
	}
	at.id, at.server, at.tenant = 0, nil, nil
	if l.freed == 0 {
		l.oldest = slot
	} else {
		l.leases[l.newest].next = slot
	}
	l.newest = slot
	l.freed++
	l.open--
}

// limit sets when a lease expires; zero lifts the limit.
func (l *ledger) limit(at *lease, expires Instant) {
	at.expires = expires
	if expires != 0 {
		heap.Push(&l.expiry, expiry{expires, at.id})
	}
}

// due returns a lease whose time is over, or nil and the next time to look; zero: none.
func (l *ledger) due(now Instant) (*lease, Instant) {
	for len(l.expiry) > 0 {
		first := l.expiry[0]
		at := l.find(first.id)
		if at != nil && at.expires == first.at && first.at > now {
			return nil, first.at
		}
		heap.Pop(&l.expiry)
		if at != nil && at.expires == first.at {
			return at, 0
		}
	}
	return nil, 0
}

type expiry struct {
	at Instant
	id LeaseID
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiryHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
