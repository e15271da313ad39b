package exchange

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// A pool may send a request on to another pool, where it would wait less. The exchange then asks that one, and links to its servers; what
// the edge keeps of pools (links, retries, counts) stays with the route's. If the other pool refuses the request, or no master
// answers for it, the first pool is asked again, and keeps it. No pool is asked twice otherwise, whatever masters say.

// overflow is to which pools a request has gone on.
type overflow struct {
	pool    string             // that is asked in place of the route's; empty: none
	asked   []string           // pools that have sent the request on, the route's first
	stays   bool               // it does not go on any more
	linksAt int                // links that there had been when it went on
	failed  []balance.ServerID // servers of the route's pool that had failed the request when it went on
}

// maxOverflows is how many pools may send a request on.
const maxOverflows = 8

// AskedPool returns the name of the pool that is asked, and whose lease and server the exchange has.
func (x *Exchange) AskedPool() string {
	if x.overflow.pool != "" {
		return x.overflow.pool
	}
	return x.Pool.Name
}

// goOn handles a refusal by which another pool is to be asked. It returns false if it is none.
func (x *Exchange) goOn(r *balance.Refusal) (step flight.Step, ok bool) {
	o := &x.overflow
	switch {
	case r.Reason == balance.Overflowed && !o.stays:
		asked := x.AskedPool()
		if r.Pool == "" || r.Pool == asked || slices.Contains(o.asked, r.Pool) || len(o.asked) >= maxOverflows {
			o.stays = true
			return x.Flight.Elsewhere(x.Request.Exclude), true
		}
		if o.pool == "" {
			o.failed = x.Request.Exclude
		}
		o.asked = append(o.asked, asked)
		o.pool, o.linksAt = r.Pool, x.attempts
		x.Pool.overflows(asked, r.Pool)
		if a := x.deps.adder; a != nil {
			a.AddPool(r.Pool)
		}
		return x.Flight.Elsewhere(nil), true
	case r.Reason == balance.Malformed, r.Reason != balance.NotLeader && x.attempts > o.linksAt: // the client gets what a server of the other pool has failed by
		return flight.Step{}, false
	}
	return x.goBack()
}

// goBack has the route's pool asked again, for good. It returns false if that is asked already.
func (x *Exchange) goBack() (step flight.Step, ok bool) {
	o := &x.overflow
	if o.pool == "" {
		return flight.Step{}, false
	}
	o.pool, o.stays = "", true
	return x.Flight.Elsewhere(o.failed), true
}

// linkKey returns as what the edge counts its links to a server.
func (x *Exchange) linkKey(server balance.ServerID) balance.ServerID {
	if x.overflow.pool == "" {
		return server
	}
	return balance.ServerID(x.overflow.pool + "/" + string(server))
}
