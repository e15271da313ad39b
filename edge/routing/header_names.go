package routing

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// dropNames are the names of fields that a route's servers are not sent.
type dropNames struct {
	clients, probes *http1.Names // of untrusted clients, and of their OPTIONS and TRACE
	Trailers        *http1.Names // of all trailers
}

var usualDropNames = dropNames{fromClients, probesOfClients, NoTrailers}

// What is dropped of a message, besides connection-specific fields. Servers that turn names into variables
// take Evenkeel_Lease for Evenkeel-Lease, so we do too.
var (
	// reserved are set by the edge for servers, or by servers for the edge.
	reserved = []string{"evenkeel-*", "x-gateway-destination-endpoint*", orca.Header + "*"}
	// origin describes another client; only a trusted proxy may set it.
	origin = []string{"forwarded", "x-real-ip", "x-forwarded-*"}
	// rewritten are written anew, with the old value where it counts.
	rewritten = []string{"via", "x-request-id", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}

	steps = []string{"max-forwards"}

	fromClients = http1.NewNames(slices.Concat(reserved, origin, rewritten)...)
	fromTrusted = http1.NewNames(slices.Concat(reserved, rewritten)...)

	// For OPTIONS and TRACE, whose hops are counted.
	probesOfClients = http1.NewNames(slices.Concat(reserved, origin, rewritten, steps)...)
	probesOfTrusted = http1.NewNames(slices.Concat(reserved, rewritten, steps)...)

	FromServers = http1.NewNames(orca.Header+"*", "via", "trailer", HeaderLease, HeaderFence, HeaderSize) // a server may echo all that it was sent; clients learn no lease, and no size
	NoTrailers  = http1.NewNames(slices.Concat(reserved, origin, rewritten)...)
)

// Headers that tell the server about its lease.
const (
	HeaderLease   = "Evenkeel-Lease"
	HeaderEdge    = "Evenkeel-Edge"
	HeaderPool    = "Evenkeel-Pool"
	HeaderSubject = "Evenkeel-Client-Subject" // of the client's certificate, if the listener requests one and it was verified
	HeaderFence   = "Evenkeel-Fence"          // decimal; larger than that of any earlier leader of the pool
)

// HeaderSize is the field, or trailer, by which a server says how much work a request was.
const HeaderSize = "Evenkeel-Size"

// RequestDrops returns the fields of a request of the route that servers are not sent. trusted: the peer is a
// trusted proxy.
func (r *BoundRoute) RequestDrops(method string, trusted bool) *http1.Names {
	switch probe := IsProbe(method); {
	case trusted && probe:
		return probesOfTrusted
	case trusted:
		return fromTrusted
	case probe:
		return r.Drops.probes
	}
	return r.Drops.clients
}
