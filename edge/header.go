package edge

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// Headers by which the edge tells the server what it was chosen for.
const (
	HeaderLease = "Evenkeel-Lease"
	HeaderEdge  = "Evenkeel-Edge"
	HeaderPool  = "Evenkeel-Pool"
	HeaderFence = "Evenkeel-Fence" // decimal; larger than that of any leader of the pool before
)

const (
	headerRequestID = "X-Request-Id"
	via             = "evenkeel"
)

// What is dropped of a message, besides what is for one connection only. Servers that
// turn names into variables take Evenkeel_Lease for the same as Evenkeel-Lease, so we
// do too.
var (
	// reserved are the edge's own words to servers, or theirs to the edge.
	reserved = []string{"evenkeel-*", "x-gateway-destination-endpoint*", orca.Header + "*"}
	// origin tells of one who only a trusted proxy may speak for.
	origin = []string{"forwarded", "x-real-ip", "x-forwarded-*"}
	// rewritten are said anew, with what was said before where it counts.
	rewritten = []string{"via", "x-request-id", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}

	fromClients = http1.NewNames(slices.Concat(reserved, origin, rewritten)...)
	fromTrusted = http1.NewNames(slices.Concat(reserved, rewritten)...)
	fromServers = http1.NewNames(orca.Header+"*", "via", "trailer")
	noTrailers  = http1.NewNames(slices.Concat(reserved, origin, rewritten)...)
)

// trusts tells whether the peer's word about whom it speaks for counts.
func (l *listener) trusts(peer netip.Addr) bool { return within(l.TrustedProxies, peer) }

func within(networks []netip.Prefix, peer netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// client returns the address of who sent the request first, as far as trusted
// proxies vouch for it: the last in their chain that is none of them.
func (l *listener) client(h *head) netip.Addr {
	addr := h.peer
	if len(l.TrustedProxies) == 0 {
		return addr
	}
	chain := strings.Split(strings.Join(h.all("x-forwarded-for"), ","), ",")
	for i := len(chain) - 1; i >= 0 && l.trusts(addr); i-- {
		before, err := parseHop(strings.TrimSpace(chain[i]))
		if err != nil {
			break
		}
		addr = before
	}
	return addr
}

func parseHop(s string) (netip.Addr, error) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap(), nil
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap(), err
}

// additions are fields to add to a message. Their values live in its text until reset.
type additions struct {
	list []http1.Added
	text []byte
}

func (a *additions) reset() { a.list, a.text = a.list[:0], a.text[:0] }

// add adds a field whose value is what text has from start on.
func (a *additions) add(name string, start int) {
	a.list = append(a.list, http1.Added{Name: name, Value: a.text[start:]})
}

func (a *additions) say(name, value string) {
	start := len(a.text)
	a.text = append(a.text, value...)
	a.add(name, start)
}

// sayBehind adds a field to whose earlier values another is appended.
func (a *additions) sayBehind(name string, before []string, own func([]byte) []byte) {
	start := len(a.text)
	for _, v := range before {
		a.text = append(append(a.text, v...), ", "...)
	}
	a.text = own(a.text)
	a.add(name, start)
}

// toServer tells what is dropped of the client's fields and adds those that a server
// is told. The lease is its own.
func (x *exchange) toServer(a *additions) (drop *http1.Names) {
	h, trusted := &x.head, x.listener.trusts(x.head.peer)
	scheme := "http"
	if h.secure {
		scheme = "https"
	}
	var chain, elements []string
	proto, host := scheme, h.host
	drop = fromClients
	if trusted {
		drop = fromTrusted
		chain, elements = h.all("x-forwarded-for"), h.all("forwarded")
		proto, host = cmp.Or(h.first("x-forwarded-proto"), proto), cmp.Or(h.first("x-forwarded-host"), host)
	}
	a.sayBehind("X-Forwarded-For", chain, func(b []byte) []byte { return appendNode(b, h.peer) })
	a.sayBehind("Forwarded", elements, func(b []byte) []byte { return appendForwarded(b, h.peer, h.host, scheme) })
	a.say("X-Forwarded-Proto", proto)
	a.say("X-Forwarded-Host", host)
	a.sayBehind("Via", h.all("via"), func(b []byte) []byte { return append(append(b, h.proto...), " "+via...) })
	a.say(headerRequestID, x.id)
	a.say(HeaderEdge, string(x.edge.cfg.ID))
	a.say(HeaderPool, x.route.Pool)
	a.say(orca.HeaderFormat, "TEXT")
	return drop
}

// toClient does the same for a server's response, whose fields are told.
func (x *exchange) toClient(a *additions, told fields) (drop *http1.Names) {
	a.sayBehind("Via", told.all("via"), func(b []byte) []byte { return append(append(b, cmp.Or(x.spoke, "1.1")...), " "+via...) })
	if told.first("x-request-id") == "" {
		a.say(headerRequestID, x.id)
	}
	if x.listener.ServerTiming {
		start := len(a.text)
		a.text = x.appendTiming(a.text)
		a.add("Server-Timing", start)
	}
	if told.first("trailer") != "" {
		a.sayTrailers(told.all("trailer"))
	}
	return fromServers
}

// appendTiming appends what the edge has to say in Server-Timing, beside what the
// server said: how long the asks took, without and within the queue.
func (x *exchange) appendTiming(dst []byte) []byte {
	dst = strconv.AppendFloat(append(dst, "pick;dur="...), milliseconds(max(0, x.picking-x.waiting)), 'f', -1, 64)
	return strconv.AppendFloat(append(dst, ", queue;dur="...), milliseconds(x.waiting), 'f', -1, 64)
}

// sayTrailers announces the trailers that a client will get.
func (a *additions) sayTrailers(announced []string) {
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
	if len(a.text) > start {
		a.add("Trailer", start)
	}
}

// appendForwarded appends one element of the Forwarded header (RFC 7239, 4): an IPv6
// address goes in brackets and quotes, and so does anything else that is no token.
func appendForwarded(dst []byte, peer netip.Addr, host, scheme string) []byte {
	dst = append(dst, "for="...)
	if peer.Is6() {
		dst = append(append(append(dst, `"[`...), node(peer)...), `]"`...)
	} else {
		dst = appendNode(dst, peer)
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

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

const longestRequestID = 128

// requestID keeps the client's id for the request if it is fit to stand in logs, and
// makes one otherwise, in x. It is no secret.
func (x *exchange) requestID(told string) string {
	fit := told != "" && len(told) <= longestRequestID
	for i := 0; fit && i < len(told); i++ {
		fit = isAlphanumeric(told[i]) || strings.IndexByte("-._~+/=:@", told[i]) >= 0
	}
	if fit {
		return told
	}
	const digits = "0123456789abcdef"
	for i, bits := 0, uint64(0); i < len(x.made); i, bits = i+1, bits>>4 {
		if i%16 == 0 {
			bits = rand.Uint64()
		}
		x.made[i] = digits[bits&15]
	}
	return view(x.made[:])
}

func appendLease(dst []byte, lease balance.LeaseID) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[lease>>shift&15])
	}
	return dst
}

// view is a string that shares b's memory, for as long as nobody writes there.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
