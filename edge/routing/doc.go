// Package routing decides where a request goes, and what an edge believes about it, before any server is asked for.
//
//	Listener, Route            as configured. Validate reports every bad field.
//	     │ Bind
//	     ▼
//	BoundListener, BoundRoute  prepared for use, with defaults filled in. Immutable: all goroutines share them.
//	     │ FindRoute
//	     ▼
//	the route of a request, or none, or "ambiguous": a server could read the path as another route's
//
// A RequestInfo is what is needed of a request's head: method, host, path and fields. The other questions that
// are answered here from it and from its listener:
//
//   - which address is the client's, if trusted proxies stand in front (ClientAddr)
//   - which key and which tenant the request has (Source, TenantRule)
//   - what it says about its work: size, class, priority, labels, location, hold, deadline (BoundFacts)
//   - which fields servers are not sent (RequestDrops)
//   - whether the client may connect, and with which TLS (Access, TLSPolicy), and have another request open (Limiter)
//   - whether a request on a TLS connection is for another name than the connection (Misdirected)
//
// Strings of a RequestInfo, and of a HeaderView, share the memory of the buffer that the request was read into.
// They are valid until that buffer is reused; an OwnedText keeps copies of what is needed for longer.
//
// The package is pure: it does no I/O, reads no clock and starts no goroutine. A pool is only a name and a number
// here; what is kept of pools, exchanges and connections is other packages' own.
package routing
