package routing

import (
	"net/netip"
	"strings"
)

// RequestInfo is what routing needs of a request's head.
type RequestInfo struct {
	Method    string
	Target    string // path and query as received
	Host      string // with its port, if there is one
	RawPath   string // path as received
	Path      string // decoded
	Query     string // as received
	Proto     string // 1.0, 1.1 or 2
	Secure    bool   // over TLS
	Upgrade   bool   // it requests another protocol
	Kept      bool   // it goes on without its client
	Peer      netip.Addr
	ClientTLS *ClientTLS // by TLS; nil: nothing

	ContentLength int64        // of the body; negative: its length is not told
	Body          *RequestBody // what is read of it before a server is asked for; nil: nothing, or nothing needs it
	Headers
}

// Headers are the fields of a request. Names are in lower case, and _ equals -.
type Headers interface {
	First(lower string) string // empty: none
	All(lower string) []string
}

// Clone returns the head with its strings copied into o. Its fields still share the request's buffer: they are
// valid until the request's last link has ended.
func (h *RequestInfo) Clone(o *OwnedText) RequestInfo {
	own := *h
	own.Method, own.Host, own.Target = o.Clone(h.Method), o.Clone(h.Host), o.Clone(h.Target)
	own.RawPath, own.Query = own.Target[:len(h.RawPath)], own.Target[len(own.Target)-len(h.Query):]
	if own.Path = own.RawPath; h.Path != own.RawPath {
		own.Path = o.Clone(h.Path)
	}
	return own
}

// IsProbe reports whether Max-Forwards limits requests of a method (RFC 9110, 7.6.2).
func IsProbe(method string) bool { return method == "OPTIONS" || method == "TRACE" }

// EndsHere reports whether a probe is for the edge: for the server as a whole, or not to be forwarded.
func (h *RequestInfo) EndsHere() bool {
	return h.Target == "*" || strings.TrimLeft(h.First("max-forwards"), "0") == "" && h.First("max-forwards") != ""
}

// HTTPVersion2 is HTTP/2 as Via names it.
const HTTPVersion2 = "2"
