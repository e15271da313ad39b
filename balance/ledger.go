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
	oldest  uint32             // free slot, if freed > 0; the others follow by lease.next
	newest  uint32             // free slot
	freed   int                // free slots: reused first in first out so that generations last
	adopted map[LeaseID]uint32 // leases that another life of this pool granted
	expiry  expiryHeap         // leases with a time limit; entries whose time has changed are stale
}

type lease struct {
	id      LeaseID // zero: the slot is free
	server  *Server
	edge    int32 // index in Pool.edges; 0 is nobody
	started Instant
	crowd   float32 // requests at the server with this one, when it was granted
	expires Instant // zero: never
	gen     uint32
	next    uint32 // free slot after this one
}

const (
	slotBits = 24
	genBits  = 24
	maxOpen  = 1 << slotBits
)

// add opens a lease; ok is false when the ledger is full.
func (l *ledger) add(fill lease) (*lease, bool) {
	slot, ok := l.slot()
	if !ok {
		return nil, false
	}
	at := &l.leases[slot]
	fill.gen = (at.gen + 1) & (1<<genBits - 1)
	if fill.id == 0 {
		fill.id = LeaseID(uint64(l.epoch)<<(genBits+slotBits) | uint64(fill.gen)<<slotBits | uint64(slot))
	} else {
		if l.adopted == nil {
			l.adopted = make(map[LeaseID]uint32)
		}
		l.adopted[fill.id] = slot
	}
	*at = fill
	l.open++
	if fill.expires != 0 {
		heap.Push(&l.expiry, expiry{fill.expires, fill.id})
	}
	return at, true
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

// find returns an open lease, or nil.
func (l *ledger) find(id LeaseID) *lease {
	slot, adopted := l.adopted[id]
	if !adopted {
		slot = uint32(id & (maxOpen - 1))
	}
	if int(slot) >= len(l.leases) || l.leases[slot].id != id || id == 0 {
		return nil
	}
	return &l.leases[slot]
}

// drop closes a lease that find returned.
func (l *ledger) drop(at *lease) {
	slot, adopted := l.adopted[at.id]
	if adopted {
		delete(l.adopted, at.id)
	} else {
		slot = uint32(at.id & (maxOpen - 1))
	}
	*at = lease{gen: at.gen}
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
