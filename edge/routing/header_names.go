package routing

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// dropNames are the names of fields that a route's servers are not sent.
type dropNames struct {
	clients, probes traceNames   // of untrusted clients, and of their OPTIONS and TRACE
	Trailers        *http1.Names // of all trailers
}

// newDropNames returns them with a route's own.
func newDropNames(own ...string) *dropNames {
	return &dropNames{
		clients:  newTraceNames(slices.Concat(reserved, origin, rewritten, own)),
		probes:   newTraceNames(slices.Concat(reserved, origin, rewritten, steps, own)),
		Trailers: http1.NewNames(slices.Concat(reserved, origin, rewritten, own)...),
	}
}

// TraceDrops is which fields of the client's trace (W3C Trace Context) servers are not sent as they are.
type TraceDrops uint8

const (
	DropNoTrace     TraceDrops = iota
	DropTraceParent            // the trace is continued
	DropTrace                  // another begins
	traceDropsCount
)

// traceNames are names of fields, with those of the client's trace.
type traceNames [traceDropsCount]*http1.Names

func newTraceNames(list []string) (names traceNames) {
	names[DropNoTrace] = http1.NewNames(list...)
	names[DropTraceParent] = http1.NewNames(append(list, "traceparent")...)
	names[DropTrace] = http1.NewNames(append(list, "traceparent", "tracestate")...)
	return names
}

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

	usualDropNames = newDropNames()
	fromTrusted    = newTraceNames(slices.Concat(reserved, rewritten))

	// For OPTIONS and TRACE, whose hops are counted.
	probesOfTrusted = newTraceNames(slices.Concat(reserved, rewritten, steps))

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
func (r *BoundRoute) RequestDrops(method string, trusted bool, trace TraceDrops) *http1.Names {
	switch probe := IsProbe(method); {
	case trusted && probe:
		return probesOfTrusted[trace]
	case trusted:
		return fromTrusted[trace]
	case probe:
		return r.Drops.probes[trace]
	}
	return r.Drops.clients[trace]
}
