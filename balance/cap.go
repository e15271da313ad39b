package balance

import (
	"cmp"
	"math"
	"slices"
)

// This file keeps servers to declared caps, max_in_flight. A cap is no guess: no other rule lifts it.
//
// It holds for what the pool knows of: requests that edges have told of, and leases of redirected ones. A master that has just
// begun knows nothing of either until its edges have come back. So it first takes every server with a cap to be full.

// MostInFlight is the largest cap.
const MostInFlight = 1_000_000

const noCap = math.MaxInt32

// capOf returns the cap of a server of which something is declared.
func (p *Pool) capOf(spec *ServerSpec) int32 {
	return int32(cmp.Or(spec.MaxInFlight, p.cfg.MaxInFlight, noCap))
}

// declaredCap returns the server's cap; zero: it has none.
func (s *Server) declaredCap() int {
	if most := s.mostDeclared(); most != noCap {
		return int(most)
	}
	return 0
}

// isCapped reports whether the server may have no further lease whatever else speaks for it.
func (p *Pool) isCapped(now Instant, s *Server) bool {
	most := s.mostDeclared()
	return s.leases >= most || now < s.knownFrom() && most != noCap
}

// mayHaveMore reports whether the server's cap and its refusals allow it one more lease.
func (p *Pool) mayHaveMore(now Instant, s *Server) bool {
	if s.sharing() != nil {
		return s.leases < s.cap && !p.isCapped(now, s)
	}
	return s.leases < s.cap && (now >= p.knownFrom || p.capOf(&s.spec) == noCap)
}

// Await says that there may be leases of which the pool has not been told yet, until a time: so long servers with a cap get
// nothing.
func (p *Pool) Await(now, until Instant) {
	p.knownFrom = until
	for _, s := range p.servers {
		if s.mostDeclared() == noCap {
			continue
		}
		p.rank(now, s)
		p.wakeAt(s, until)
		for _, c := range s.counterparts() {
			c.pool.rank(now, c)
			c.pool.wakeAt(c, until)
		}
	}
}

// Awaits reports whether there may be edges, and leases, of which the pool, or one that shares servers with it, has not been told yet.
func (p *Pool) Awaits(now Instant) bool {
	if p.sharing == nil {
		return now < p.knownFrom
	}
	return slices.ContainsFunc(p.sharing.pools, func(q *Pool) bool { return now < q.knownFrom })
}

// Share returns how many of a server's capped requests one of several edges may have under way while no master answers. place
// is the edge's among all, from 0. It is the same in all pools that have a server with the address. The shares of all edges add up to the cap; what cannot be divided goes to other edges for
// other servers.
func Share(most int, address string, place, edges int) int {
	if edges <= 0 || place < 0 || place >= edges {
		return 0
	}
	share, rest := most/edges, most%edges
	if (place+int(HashID(SharedAddress(address))%uint64(edges)))%edges < rest {
		share++
	}
	return share
}
