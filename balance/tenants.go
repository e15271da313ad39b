package balance

import (
	"cmp"
	"strings"
	"time"
)

// This file bounds what a client gains by another tenant's name in each request. A tenant whose name
// is proven has a line of its own in the queue, and so has one that is merely told, if the pool has
// served it a few times. Those that it does not know have one each as long as few of them wait; beyond
// that all of them share one, so that who rotates names gets the turn of one tenant. Those whose names had to
// be proven and were not share one of theirs. Where the pool has a list of tenants, those on it
// have lines of their own and all others share one.

// Bounds of a pool's list of tenants.
const (
	MaxTenants      = 4096
	MaxTenantWeight = 1e4
	MinTenantWeight = 1e-4
)

// acquaintances are the tenants that a pool has served more than once of late.
type acquaintances struct {
	listed map[string]TenantConfig // nil: there is no list
	all    map[place]*tenant       // those of which something is remembered

	sweepAt int // how many there are when idle ones are forgotten next; zero: 2 * mostTenants

	known map[string]Instant // when each of those that the pool knows of itself was served last
	once  []uint32           // hashes of tenants that were served once, each in the place of its hash; later ones take the places of earlier
}

const (
	mostKnown     = 256
	onceServed    = 1024
	mostStrangers = 4           // lines of tenants that the pool does not know, in a band
	remembered    = time.Minute // a tenant that was served within that makes no room for another
)

// TenantConfig is what is configured of a tenant.
type TenantConfig struct {
	Weight      float64 // its share of a full pool over that of others; zero: 1
	MaxInFlight int     // it never has more leases than that; zero: none
}

// list takes the pool's tenants.
func (p *Pool) list(tenants map[string]TenantConfig) {
	p.tenants.listed = tenants
	if len(tenants) == 0 {
		p.tenants.listed = nil
	}
	for _, t := range p.tenants.all {
		t.weight, t.fixed, t.cap = 1, false, 0
	}
	for name, c := range tenants {
		for _, belief := range []Belief{Told, Proven} {
			t := p.tenantAt(place{tenant: name, belief: belief})
			t.weight, t.fixed, t.cap = cmp.Or(c.Weight, 1), true, c.MaxInFlight
		}
	}
}

// capsTenants reports whether a tenant has a cap.
func (p *Pool) capsTenants() bool {
	for _, t := range p.tenants.listed {
		if t.MaxInFlight > 0 {
			return true
		}
	}
	return false
}

// learns reports whether the pool is to remember that it has served a request's tenant.
func (a *acquaintances) learns(req *Request) bool {
	return req.Tenant != "" && req.Belief == Told && a.listed == nil
}

// serves takes that a tenant's request got a server.
func (a *acquaintances) serves(now Instant, tenant string) {
	if _, known := a.known[tenant]; known {
		a.known[tenant] = now
		return
	}
	if a.once == nil {
		a.once, a.known = make([]uint32, onceServed), make(map[string]Instant)
	}
	h := HashID(tenant)
	at, mark := &a.once[h%onceServed], uint32(h>>32)|1
	if *at != mark {
		*at = mark
		return
	}
	if len(a.known) < mostKnown || a.forget(now) {
		a.known[strings.Clone(tenant)] = now
		*at = 0
	}
}

// forget makes room for a tenant; false: all were served lately.
func (a *acquaintances) forget(now Instant) bool {
	oldest, last := "", forever
	for tenant, at := range a.known {
		if at < last || at == last && tenant < oldest {
			oldest, last = tenant, at
		}
	}
	if now.Sub(last) < remembered {
		return false
	}
	delete(a.known, oldest)
	return true
}

// place is a tenant's line in a band, there or not.
type place struct {
	tenant string
	belief Belief // in the name: who merely tells a proven one is in another line. All that are disbelieved share one, without a tenant
	shared bool   // that of all tenants whom the pool does not know; tenant is empty
}

// placeOf returns the line in which a request is to stand. b may be nil.
func (p *Pool) placeOf(b *band, req *Request) place {
	own := place{tenant: req.Tenant, belief: req.Belief}
	switch _, listed := p.tenants.listed[req.Tenant]; {
	case req.Belief == Disbelieved:
		return place{belief: Disbelieved}
	case req.Tenant == "":
		return place{}
	case p.tenants.listed != nil && !listed:
		return place{shared: true}
	case listed, req.Belief == Proven:
		return own
	}
	if _, known := p.tenants.known[req.Tenant]; known || b == nil {
		return own
	}
	strangers := 0
	for _, l := range b.tenants {
		if l.place == own {
			return own
		}
		if l.shared {
			return l.place
		}
		if _, known := p.tenants.known[l.tenant]; !known && l.tenant != "" && l.belief == Told {
			strangers++
		}
	}
	if strangers < mostStrangers {
		return own
	}
	return place{shared: true}
}

// band returns that of a priority; nil: no request waits in it.
func (q *queue) band(priority int) *band {
	for _, b := range q.bands {
		if b.priority == priority {
			return b
		}
	}
	return nil
}

// longest returns the longest line, one of several by chance.
func (p *Pool) longest(b *band) (longest *line) {
	ties := uint64(0)
	for _, l := range b.tenants {
		switch {
		case longest == nil || len(l.waiting) > len(longest.waiting):
			longest, ties = l, 1
		case len(l.waiting) == len(longest.waiting):
			if ties++; p.tieBreak()>>32*ties>>32 == 0 {
				longest = l
			}
		}
	}
	return longest
}
