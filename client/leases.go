package client

import (
	"math/bits"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// leases is a set of open leases by id. Every pick adds one and every done removes one; with a map that would
// be a tenth of an ask. It is a hash table with linear probing.
type leases struct {
	table []openLease // id zero: free; the length is a power of two
	n     int
	shift int // turns the upper bits of the hash into an index
}

type openLease struct {
	id      balance.LeaseID
	pool    *pool
	server  balance.ServerID
	since   balance.Instant
	expires balance.Instant // zero: never
	tag     uint64          // of the grant; zero: none
	idle    bool            // the server owes nothing now
	asked
}

// asked is what a request said of its work, which a master that is new is told with the lease.
type asked struct {
	size  float64 // zero: not told
	class *string // one for all requests of the class; nil: none
}

// classNames keeps one copy of each class that requests have.
type classNames struct {
	last  *string
	known map[string]*string
}

// mostClassNames bounds what is kept for classes that are not used any more.
const mostClassNames = 1000

// of returns the class, of which the caller's string is not kept; nil: there is none.
func (c *classNames) of(class string) *string {
	if class == "" {
		return nil
	}
	if c.last != nil && *c.last == class {
		return c.last
	}
	name := c.known[class]
	if name == nil {
		if c.known == nil || len(c.known) == mostClassNames {
			c.known = make(map[string]*string)
		}
		own := strings.Clone(class)
		name = &own
		c.known[own] = name
	}
	c.last = name
	return name
}

func (l *leases) homeSlot(id balance.LeaseID) int {
	return int(uint64(id) * 0x9e3779b97f4a7c15 >> l.shift)
}

// put adds a lease or replaces the one with its id.
func (l *leases) put(o openLease) {
	if 2*l.n >= len(l.table) {
		l.grow()
	}
	at := l.homeSlot(o.id)
	for l.table[at].id != 0 && l.table[at].id != o.id {
		at = (at + 1) & (len(l.table) - 1)
	}
	if l.table[at].id == 0 {
		l.n++
	}
	l.table[at] = o
}

func (l *leases) grow() {
	old := l.table
	l.table = make([]openLease, max(16, 2*len(old)))
	l.shift, l.n = 65-bits.Len(uint(len(l.table))), 0
	for i := range old {
		if old[i].id != 0 {
			l.put(old[i])
		}
	}
}

// find returns a lease, or nil. The pointer is valid until the next put or remove.
func (l *leases) find(id balance.LeaseID) *openLease {
	if l.n == 0 || id == 0 {
		return nil
	}
	for at := l.homeSlot(id); l.table[at].id != 0; at = (at + 1) & (len(l.table) - 1) {
		if l.table[at].id == id {
			return &l.table[at]
		}
	}
	return nil
}

// remove removes a lease, if it is there.
func (l *leases) remove(id balance.LeaseID) {
	if l.n == 0 || id == 0 {
		return
	}
	last := len(l.table) - 1
	at := l.homeSlot(id)
	for l.table[at].id != id {
		if l.table[at].id == 0 {
			return
		}
		at = (at + 1) & last
	}
	l.n--
	// Entries behind it move up, unless they would pass their home slot.
	for next := (at + 1) & last; l.table[next].id != 0; next = (next + 1) & last {
		if home := l.homeSlot(l.table[next].id); (next-home)&last >= (next-at)&last {
			l.table[at], at = l.table[next], next
		}
	}
	l.table[at] = openLease{}
}
