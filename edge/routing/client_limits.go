package routing

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// ClientLimits bounds what one client of a listener may take of it. The zero value bounds nothing.
type ClientLimits struct {
	Connections       int            // open at once; zero: any number
	OpenRequests      int            // at once; zero: any number
	RequestsPerSecond float64        // in the long run; zero: any
	Burst             int            // requests at once beyond that; zero: those of one second, at least one
	By                string         // what identifies clients of requests: address, or header:NAME; empty: address
	Exempt            []netip.Prefix // addresses that are not limited
}

const byAddress = "address"

// requests reports whether requests are limited.
func (c *ClientLimits) requests() bool { return c.OpenRequests > 0 || c.RequestsPerSecond > 0 }

// validate calls bad once for every field that cannot be worked with.
func (c *ClientLimits) validate(m Mode, bad func(field, problem string)) {
	NotNegative(bad, "connections", c.Connections)
	NotNegative(bad, "open_requests", c.OpenRequests)
	NotNegative(bad, "burst", c.Burst)
	if r := c.RequestsPerSecond; r != 0 && !(r >= 0.001 && r <= 1e6) {
		bad("requests_per_second", fmt.Sprintf("%v, want 0.001 to 1000000, or 0 for any number", r))
	}
	if c.Burst > 1e6 {
		bad("burst", fmt.Sprintf("%d, want at most 1000000", c.Burst))
	}
	if c.Burst > 0 && c.RequestsPerSecond == 0 {
		bad("burst", fmt.Sprintf("%d without requests_per_second, which it goes beyond; to bound what is under way at once, set open_requests", c.Burst))
	}
	kind, name, _ := strings.Cut(c.By, ":")
	switch {
	case c.By != "" && c.By != byAddress && !(kind == "header" && IsToken(name)):
		bad("by", fmt.Sprintf("%q, want %s or header:NAME", c.By, byAddress))
	case kind == "header" && m != ModeTCP && !c.requests():
		bad("by", fmt.Sprintf("%q is for requests: set open_requests or requests_per_second; connections are counted by address", c.By))
	}
	if m == ModeTCP {
		const unread = "a listener with mode tcp reads no requests; want connections"
		if c.OpenRequests > 0 {
			bad("open_requests", unread)
		}
		if c.RequestsPerSecond > 0 {
			bad("requests_per_second", unread)
		}
		if kind == "header" {
			bad("by", unread)
		}
	}
	for i, p := range c.Exempt {
		if err := CheckPrefix(p); err != nil {
			bad(fmt.Sprintf("exempt[%d]", i), err.Error())
		}
	}
}

// ClientLimiter are a listener's ClientLimits made ready. All loops share them.
type ClientLimiter struct {
	Conns    *limits.Clients // of connections; nil: any number
	Requests *limits.Clients // nil: any
	header   string          // identifies clients, in lower case; empty: the address does
	seed     maphash.Seed    // for hashing the header's value
	exempt   Prefixes
}

// newClientLimiter returns nil if there are none.
func newClientLimiter(c *ClientLimits) *ClientLimiter {
	if c.Connections == 0 && !c.requests() {
		return nil
	}
	ready := &ClientLimiter{exempt: NewPrefixes(c.Exempt), seed: maphash.MakeSeed()}
	if c.Connections > 0 {
		ready.Conns = limits.NewClients(c.Connections, 0, 0)
	}
	if c.requests() {
		ready.Requests = limits.NewClients(c.OpenRequests, c.RequestsPerSecond, c.Burst)
	}
	if _, name, named := strings.Cut(c.By, ":"); named {
		ready.header = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	}
	return ready
}

// byPrefix is the key of an address; zero: it is not known, or exempt.
func (c *ClientLimiter) byPrefix(a netip.Addr) limits.ClientKey {
	if c.exempt.Contain(a) {
		return 0
	}
	return limits.ClientKey(balance.PrefixOf(a))
}

// KeyOf is the key of a request's client, who has an address; zero: it is not known, or exempt.
func (c *ClientLimiter) KeyOf(h *RequestInfo, client netip.Addr) limits.ClientKey {
	k := c.byPrefix(client)
	if k == 0 || c.header == "" {
		return k
	}
	if told := h.First(c.header); told != "" {
		return limits.ClientKey(max(1, maphash.String(c.seed, told)))
	}
	return k
}

// countConn counts a connection of a client's address, and reports whether the client may have it. If so,
// ReleaseConn has to be called with the same address.
func (l *BoundListener) countConn(client netip.Addr) bool {
	c := l.Limiter
	if c == nil || c.Conns == nil {
		return true
	}
	v, _ := c.Conns.Enter(0, c.byPrefix(client))
	return v == limits.Admitted
}

// LimitConn returns why a client may not connect; nil: it may, and is counted.
func (l *BoundListener) LimitConn(client netip.Addr) error {
	switch {
	case !l.access.Admits(client):
		return ErrDenied
	case !l.countConn(client):
		return ErrConnections
	}
	return nil
}

// ReleaseConn ends what countConn has counted.
func (l *BoundListener) ReleaseConn(client netip.Addr) {
	if c := l.Limiter; c != nil && c.Conns != nil {
		c.Conns.Leave(c.byPrefix(client))
	}
}
