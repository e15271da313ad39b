package edge

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// Headers by which the edge tells the server what it was chosen for.
const (
	HeaderLease = "Evenkeel-Lease"
	HeaderEdge  = "Evenkeel-Edge"
	HeaderPool  = "Evenkeel-Pool"
)

const (
	headerRequestID = "X-Request-Id"
	via             = "evenkeel"
)

// reserved tells whether clients may not say a header: it is the edge's own word to
// servers, or theirs to the edge. Servers that turn names into variables take
// Evenkeel_Lease for the same as Evenkeel-Lease, so we do too.
func reserved(name string) bool {
	if len(name) < len("Evenkeel-") {
		return false
	}
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.HasPrefix(name, "evenkeel-") || strings.HasPrefix(name, "x-gateway-destination-endpoint") || isReport(name)
}

// isReport tells whether a header, by its name in lower case, is about load reports.
func isReport(name string) bool { return strings.HasPrefix(name, orca.Header) }

// origin tells of one who only a trusted proxy may speak for.
func origin(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return name == "forwarded" || name == "x-real-ip" || strings.HasPrefix(name, "x-forwarded-")
}

// trusts tells whether the peer's word about whom it speaks for counts.
func (l *listener) trusts(peer netip.Addr) bool {
	for _, p := range l.TrustedProxies {
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
	chain := strings.Split(strings.Join(h.header("X-Forwarded-For"), ","), ",")
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

// toServer makes the headers of a request to a server, in out, from those that the
// client sent, without hop-by-hop ones. The lease is set with each attempt.
func (x *exchange) toServer(out http.Header) {
	h, trusted := &x.head, x.listener.trusts(x.head.peer)
	for name := range out {
		if reserved(name) || origin(name) && !trusted {
			delete(out, name)
		}
	}
	scheme := "http"
	if h.secure {
		scheme = "https"
	}
	chain, element := node(h.peer), forwarded(h.peer, h.host, scheme)
	if trusted {
		chain = join(h.header("X-Forwarded-For"), chain)
		element = join(h.header("Forwarded"), element)
	}
	out.Set("X-Forwarded-For", chain)
	out.Set("Forwarded", element)
	for _, told := range [...]struct{ name, own string }{{"X-Forwarded-Proto", scheme}, {"X-Forwarded-Host", h.host}} {
		out.Set(told.name, told.own)
		if before := first(h.header(told.name)); trusted && before != "" {
			out.Set(told.name, before)
		}
	}
	out.Set("Via", join(out.Values("Via"), h.proto+" "+via))
	out.Set(headerRequestID, x.id)
	out.Set(HeaderEdge, string(x.edge.cfg.ID))
	out.Set(HeaderPool, x.route.Pool)
	out.Set(orca.HeaderFormat, "TEXT")
}

// toClient makes the headers of a server's response fit for the client.
func (x *exchange) toClient(h http.Header) {
	stripReports(h)
	h.Set("Via", join(h.Values("Via"), "1.1 "+via))
	if h.Get(headerRequestID) == "" {
		h.Set(headerRequestID, x.id)
	}
}

func stripReports(h http.Header) {
	for name := range h {
		if isReport(strings.ToLower(name)) {
			delete(h, name)
		}
	}
}

func join(before []string, last string) string {
	return strings.Join(append(before[:len(before):len(before)], last), ", ")
}

// forwarded is one element of the Forwarded header (RFC 7239, 4): an IPv6 address goes
// in brackets and quotes, and so does anything else that is no token.
func forwarded(peer netip.Addr, host, scheme string) string {
	who := node(peer)
	if peer.Is6() {
		who = `"[` + who + `]"`
	}
	if !isToken(host) {
		host = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(host) + `"`
	}
	return "for=" + who + ";host=" + host + ";proto=" + scheme
}

// node names a peer; one without an IP address is unknown (RFC 7239, 6.2).
func node(peer netip.Addr) string {
	if !peer.IsValid() {
		return "unknown"
	}
	return peer.String()
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
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
// makes one otherwise. It is no secret.
func requestID(told string) string {
	fit := told != "" && len(told) <= longestRequestID
	for i := 0; fit && i < len(told); i++ {
		fit = isAlphanumeric(told[i]) || strings.IndexByte("-._~+/=:@", told[i]) >= 0
	}
	if fit {
		return told
	}
	return strconv.FormatUint(rand.Uint64()|1<<63, 16) + strconv.FormatUint(rand.Uint64()|1<<63, 16)
}
