package edge

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/policy"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// Headers that tell the server about its lease.
const (
	HeaderLease   = "Evenkeel-Lease"
	HeaderEdge    = "Evenkeel-Edge"
	HeaderPool    = "Evenkeel-Pool"
	HeaderSubject = "Evenkeel-Client-Subject" // of the client's certificate, if the listener requests one and it was verified
	HeaderFence   = "Evenkeel-Fence"          // decimal; larger than that of any earlier leader of the pool
)

const (
	headerRequestID = "X-Request-Id"
)

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

	fromServers = http1.NewNames(orca.Header+"*", "via", "trailer", HeaderLease, HeaderFence) // a server may echo all that it was sent; clients learn no lease
	noTrailers  = http1.NewNames(slices.Concat(reserved, origin, rewritten)...)
)

// trusts reports whether a peer is a trusted proxy.
func (l *boundListener) trusts(peer netip.Addr) bool { return within(l.TrustedProxies, peer) }

func within(networks []netip.Prefix, peer netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// client returns the address of the original sender: the last one in the chain of trusted proxies that is not
// one of them.
func (l *boundListener) client(h *requestInfo) netip.Addr {
	addr := h.peer
	if len(l.TrustedProxies) == 0 {
		return addr
	}
	chain := policy.ForwardedChain(h.all("x-forwarded-for"), h.all("forwarded"))
	for i := len(chain) - 1; i >= 0 && l.trusts(addr); i-- {
		if !chain[i].For.IsValid() {
			break
		}
		addr = chain[i].For
	}
	return addr
}

// headerLines are fields to add to a message, in HTTP/1.1 format.
type headerLines struct{ text []byte }

func (a *headerLines) reset() {
	if a.text == nil {
		a.text = make([]byte, 0, additionsUsual)
	}
	a.text = a.text[:0]
}

// additionsUsual fits most of them.
const additionsUsual = 512

func (a *headerLines) add(name, value string) {
	a.startLine(name)
	a.text = append(a.text, value...)
	a.endLine()
}

// startLine begins a line whose value is appended to text; endLine ends it.
func (a *headerLines) startLine(name string) { a.text = append(append(a.text, name...), ": "...) }

func (a *headerLines) endLine() { a.text = append(a.text, "\r\n"...) }

// appendList appends a field's earlier values, to which another one is appended.
func appendList(dst []byte, before []string) []byte {
	for _, v := range before {
		dst = append(append(dst, v...), ", "...)
	}
	return dst
}

// requestDrops returns the client's fields that are not sent to servers.
func (x *exchange) requestDrops() *http1.Names {
	switch trusted, probe := x.listener.trusts(x.head.peer), isProbe(x.head.method); {
	case trusted && probe:
		return probesOfTrusted
	case trusted:
		return fromTrusted
	case probe:
		return x.route.drops.probes
	}
	return x.route.drops.clients
}

// isProbe reports whether Max-Forwards limits requests of a method (RFC 9110, 7.6.2).
func isProbe(method string) bool { return method == http.MethodOptions || method == http.MethodTrace }

// endsHere reports whether a probe is for the edge: for the server as a whole, or not to be forwarded.
func (h *requestInfo) endsHere() bool {
	return h.target == "*" || strings.TrimLeft(h.first("max-forwards"), "0") == "" && h.first("max-forwards") != ""
}

// finalAnswer is the edge's answer to a probe. It does not echo the request (RFC 9110, 9.3.8).
func finalAnswer(method string) flight.Answer {
	if method == http.MethodTrace {
		return flight.Answer{Status: http.StatusMethodNotAllowed, Reason: reasonTrace}
	}
	return flight.Answer{Status: http.StatusNoContent}
}

// appendRequestHeaders adds the edge's fields to a request.
func (x *exchange) appendRequestHeaders(a *headerLines) {
	h, trusted := &x.head, x.listener.trusts(x.head.peer)
	scheme := "http"
	if h.secure {
		scheme = "https"
	}
	var chain, elements []string
	proto, host := scheme, h.host
	if trusted {
		chain, elements = h.all("x-forwarded-for"), h.all("forwarded")
		proto, host = cmp.Or(h.first("x-forwarded-proto"), proto), cmp.Or(h.first("x-forwarded-host"), host)
		if len(chain) == 0 && len(elements) > 0 {
			chain, proto, host = fromForwarded(elements, proto, host)
		}
	}
	// In few pieces: formatting these lines is a good part of a request's cost.
	t := append(a.text, "X-Forwarded-For: "...)
	t = appendList(t, chain)
	start := len(t)
	t = appendNode(t, h.peer)
	node := t[start:]
	t = append(t, "\r\nForwarded: "...)
	t = appendList(t, elements)
	t = appendForwarded(t, node, h.host, scheme)
	t = append(t, "\r\nX-Forwarded-Proto: "...)
	t = append(t, proto...)
	t = append(t, "\r\nX-Forwarded-Host: "...)
	t = append(t, host...)
	t = append(t, "\r\nVia: "...)
	t = appendList(t, x.via)
	t = append(append(t, h.proto...), ' ')
	t = append(t, x.edge.cfg.Via...)
	t = append(t, "\r\n"+headerRequestID+": "...)
	t = append(t, x.id...)
	t = append(t, "\r\n"...)
	a.text = append(t, x.route.fixedHeaders...)
	if h.clientTLS != nil && h.clientTLS.subject != "" {
		a.add(HeaderSubject, h.clientTLS.subject)
	}
	if isProbe(h.method) {
		a.decrementForwards(h.first("max-forwards"))
	}
	if x.grant.Lease != 0 {
		a.startLine(HeaderLease)
		a.text = appendHex(a.text, uint64(x.grant.Lease))
		a.endLine()
	}
	if x.grant.Fence != 0 {
		a.startLine(HeaderFence)
		a.text = strconv.AppendUint(a.text, x.grant.Fence, 10)
		a.endLine()
	}
}

// decrementForwards decrements Max-Forwards. What is not a number is dropped.
func (a *headerLines) decrementForwards(maxForwards string) {
	if n, err := strconv.ParseUint(maxForwards, 10, 31); err == nil && n > 0 {
		a.add("Max-Forwards", strconv.FormatUint(n-1, 10))
	}
}

// fromForwarded returns values for X-Forwarded-* from a trusted proxy that sends Forwarded only.
func fromForwarded(elements []string, proto, host string) (chain []string, _, _ string) {
	hops := policy.ForwardedChain(nil, elements)
	for _, hop := range hops {
		chain = append(chain, node(hop.For))
	}
	if n := len(hops); n > 0 {
		proto, host = cmp.Or(hops[n-1].Proto, proto), cmp.Or(hops[n-1].Host, host)
	}
	return chain, proto, host
}

// appendResponseHeaders drops fields of a server's response, and adds the edge's.
func (x *exchange) appendResponseHeaders(a *headerLines, resp headers) (drop *http1.Names) {
	t := append(a.text, "Via: "...)
	t = appendList(t, resp.all("via"))
	t = append(t, cmp.Or(x.serverProto, "1.1")...)
	a.text = append(append(append(t, ' '), x.edge.cfg.Via...), "\r\n"...)
	if resp.first("x-request-id") == "" {
		a.add(headerRequestID, x.id)
	}
	if x.listener.ServerTiming {
		a.startLine("Server-Timing")
		a.text = x.appendTiming(a.text)
		a.endLine()
	}
	if resp.first("trailer") != "" {
		a.announceTrailers(resp.all("trailer"))
	}
	return fromServers
}

// appendTiming appends the edge's part of Server-Timing: how long the asks took, without and within the queue.
func (x *exchange) appendTiming(dst []byte) []byte {
	dst = strconv.AppendFloat(append(dst, "pick;dur="...), milliseconds(max(0, x.picking-x.waiting)), 'f', -1, 64)
	return strconv.AppendFloat(append(dst, ", queue;dur="...), milliseconds(x.waiting), 'f', -1, 64)
}

// announceTrailers announces the trailers that the client will get.
func (a *headerLines) announceTrailers(announced []string) {
	before := len(a.text)
	a.startLine("Trailer")
	start := len(a.text)
	for _, list := range announced {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if name == "" || noTrailers.Has([]byte(name)) {
				continue
			}
			if len(a.text) > start {
				a.text = append(a.text, ", "...)
			}
			a.text = append(a.text, name...)
		}
	}
	if len(a.text) == start {
		a.text = a.text[:before]
		return
	}
	a.endLine()
}

// makeFixedHeaders returns the lines that are sent with every request of the route.
func (r *boundRoute) makeFixedHeaders(edge balance.EdgeID) string {
	var a headerLines
	a.add(HeaderEdge, string(edge))
	a.add(HeaderPool, r.Pool)
	a.add(orca.HeaderFormat, "TEXT")
	return string(a.text)
}

// appendForwarded appends one element of Forwarded (RFC 7239, 4): an IPv6 address in brackets and quotes, and
// anything else that is not a token in quotes.
func appendForwarded(dst, node []byte, host, scheme string) []byte {
	dst = append(dst, "for="...)
	if bytes.IndexByte(node, ':') >= 0 {
		dst = append(append(append(dst, `"[`...), node...), `]"`...)
	} else {
		dst = append(dst, node...)
	}
	dst = append(dst, ";host="...)
	if isToken(host) {
		dst = append(dst, host...)
	} else {
		dst = append(dst, '"')
		for i := range len(host) {
			if host[i] == '"' || host[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, host[i])
		}
		dst = append(dst, '"')
	}
	return append(append(dst, ";proto="...), scheme...)
}

func appendNode(dst []byte, peer netip.Addr) []byte {
	if !peer.IsValid() {
		return append(dst, unknown...)
	}
	return peer.AppendTo(dst)
}

const unknown = "unknown"

// node names a peer; one without an IP address is unknown (RFC 7239, 6.2).
func node(peer netip.Addr) string {
	if !peer.IsValid() {
		return unknown
	}
	return peer.String()
}

func isToken(s string) bool { return s != "" && tokens.containsAll(s) }

// byteSet is a set of bytes.
type byteSet [256]bool

// newByteSet returns letters, digits and others.
func newByteSet(others string) (set byteSet) {
	for c := range set {
		set[c] = isAlphanumeric(byte(c)) || strings.IndexByte(others, byte(c)) >= 0
	}
	return set
}

func (set *byteSet) containsAll(s string) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

var (
	tokens = newByteSet("!#$%&'*+-.^_`|~")
	idents = newByteSet("-._~+/=:@")
)

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

const longestRequestID = 128

// requestID keeps the client's id for the request if it is fit to stand in logs, and
// makes one otherwise, in x. It is no secret.
func (x *exchange) requestID(told string) string {
	if told != "" && len(told) <= longestRequestID && idents.containsAll(told) {
		return x.text.clone(told)
	}
	return unsafeString(appendHex(appendHex(x.idBuf[:0], rand.Uint64()), rand.Uint64()))
}

// appendHex appends the 16 hexadecimal digits of v.
func appendHex(dst []byte, v uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, hex(uint32(v>>32)))
	return binary.LittleEndian.AppendUint64(dst, hex(uint32(v)))
}

// hex returns the eight digits of v, the first in the lowest byte. All are made at once:
// what is v's fourth, eighth and sixteenth bit on moves apart, and what is more than nine
// becomes a letter.
func hex(v uint32) uint64 {
	const ones = 0x0101010101010101
	x := uint64(v>>16) | uint64(v&0xffff)<<32
	x = x>>8&0x000000ff000000ff | x&0x000000ff000000ff<<16
	x = x>>4&0x000f000f000f000f | x&0x000f000f000f000f<<8
	letters := (x + 6*ones) >> 4 & ones
	return x + '0'*ones + letters*('a'-'0'-10)
}
