package routing

import (
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// Schemes returns those that requests of a peer may name: what is spoken with it, or either where
// a trusted proxy in front may have ended TLS.
func (l *BoundListener) Schemes(peer netip.Addr) h2.Schemes {
	switch {
	case l.TLS != nil:
		return h2.HTTPS
	case l.WantsProxyHeader() || l.Trusts(peer):
		return h2.HTTP | h2.HTTPS
	}
	return h2.HTTP
}

// TakesURL reports whether a URL that a peer sends as its target is for what is spoken with it.
func (l *BoundListener) TakesURL(target []byte, peer netip.Addr) bool {
	scheme, _, _ := strings.Cut(UnsafeString(target), ":")
	return l.Schemes(peer).Take(strings.ToLower(scheme))
}
