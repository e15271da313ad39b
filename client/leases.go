package client

import (
	"math/bits"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// leases is a set of open leases by their ids: every pick puts one in and every done
// takes one out, which a map would make a tenth of an ask. A lease stands at the place of
// its hash or, if others stand there, in the first free one behind.
type leases struct {
	at    []openLease // an id of zero: free; the length is a power of two
	n     int
	shift int // of the hash, for its upper bits to be a place
}

type openLease struct {
	id      balance.LeaseID
	pool    *pool
	server  balance.ServerID
	since   balance.Instant
	expires balance.Instant // zero: never
	tag     uint64          // of the grant
	idle    bool            // the server owes nothing now
}

func (l *leases) home(id balance.LeaseID) int {
	return int(uint64(id) * 0x9e3779b97f4a7c15 >> l.shift)
}

// put enters a lease, in the place of one with its id.
func (l *leases) put(o openLease) {
	if 2*l.n >= len(l.at) {
		l.grow()
	}
	at := l.home(o.id)
	for l.at[at].id != 0 && l.at[at].id != o.id {
		at = (at + 1) & (len(l.at) - 1)
	}
	if l.at[at].id == 0 {
		l.n++
	}
	l.at[at] = o
}

func (l *leases) grow() {
	old := l.at
	l.at = make([]openLease, max(16, 2*len(old)))
	l.shift, l.n = 65-bits.Len(uint(len(l.at))), 0
	for i := range old {
		if old[i].id != 0 {
			l.put(old[i])
		}
	}
}

// find returns a lease, nil if it is not there. It is good until the next put or drop.
func (l *leases) find(id balance.LeaseID) *openLease {
	if l.n == 0 || id == 0 {
		return nil
	}
	for at := l.home(id); l.at[at].id != 0; at = (at + 1) & (len(l.at) - 1) {
		if l.at[at].id == id {
			return &l.at[at]
		}
	}
	return nil
}

// drop takes a lease out, if it is there.
func (l *leases) drop(id balance.LeaseID) {
	if l.n == 0 || id == 0 {
		return
	}
	last := len(l.at) - 1
	at := l.home(id)
	for l.at[at].id != id {
		if l.at[at].id == 0 {
			return
		}
		at = (at + 1) & last
	}
	l.n--
	// Those behind it move up, as far as they are not at home already.
	for next := (at + 1) & last; l.at[next].id != 0; next = (next + 1) & last {
		if home := l.home(l.at[next].id); (next-home)&last >= (next-at)&last {
			l.at[at], at = l.at[next], next
		}
	}
	l.at[at] = openLease{}
}
