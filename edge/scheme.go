package edge

import (
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// schemes returns those that requests of a peer may name: what is spoken with it, or either where
// a trusted proxy in front may have ended TLS.
func (l *boundListener) schemes(peer netip.Addr) h2.Schemes {
	switch {
	case l.secure != nil:
		return h2.HTTPS
	case l.wantsProxyHeader() || l.trusts(peer):
		return h2.HTTP | h2.HTTPS
	}
	return h2.HTTP
}

// takesURL reports whether a URL that a peer sends as its target is for what is spoken with it.
func (l *boundListener) takesURL(target []byte, peer netip.Addr) bool {
	scheme, _, _ := strings.Cut(unsafeString(target), ":")
	return l.schemes(peer).Take(strings.ToLower(scheme))
}
