package edge

import (
	"net/netip"
	"strings"
)

// requestInfo is what routing needs of a request's head.
type requestInfo struct {
	method    string
	target    string // path and query as received
	host      string // with its port, if there is one
	raw       string // path as received
	path      string // decoded
	query     string // as received
	proto     string // 1.0, 1.1 or 2
	secure    bool   // over TLS
	upgrade   bool   // it requests another protocol
	peer      netip.Addr
	clientTLS *clientTLS // by TLS; nil: nothing
	headers
}

// headers are the fields of a request. Names are in lower case, and _ equals -.
type headers interface {
	first(lower string) string // empty: none
	all(lower string) []string
}

// clone returns the head with its strings copied into o. Its fields still share the request's buffer: they are
// valid until the request's last link has ended.
func (h *requestInfo) clone(o *ownedText) requestInfo {
	own := *h
	own.method, own.host, own.target = o.clone(h.method), o.clone(h.host), o.clone(h.target)
	own.raw, own.query = own.target[:len(h.raw)], own.target[len(own.target)-len(h.query):]
	if own.path = own.raw; h.path != own.raw {
		own.path = o.clone(h.path)
	}
	return own
}

// isProbe reports whether Max-Forwards limits requests of a method (RFC 9110, 7.6.2).
func isProbe(method string) bool { return method == "OPTIONS" || method == "TRACE" }

// endsHere reports whether a probe is for the edge: for the server as a whole, or not to be forwarded.
func (h *requestInfo) endsHere() bool {
	return h.target == "*" || strings.TrimLeft(h.first("max-forwards"), "0") == "" && h.first("max-forwards") != ""
}

// version2 is HTTP/2 as Via names it.
const version2 = "2"
