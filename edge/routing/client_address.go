package routing

import (
	"net/netip"
)

// Trusts reports whether a peer is a trusted proxy.
func (l *BoundListener) Trusts(peer netip.Addr) bool { return within(l.TrustedProxies, peer) }

func within(networks []netip.Prefix, peer netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// ClientAddr returns the address of the original sender: the last one in the chain of trusted proxies that is not
// one of them.
func (l *BoundListener) ClientAddr(h *RequestInfo) netip.Addr {
	addr := h.Peer
	if len(l.TrustedProxies) == 0 {
		return addr
	}
	chain := ForwardedChain(h.All("x-forwarded-for"), h.All("forwarded"))
	for i := len(chain) - 1; i >= 0 && l.Trusts(addr); i-- {
		if !chain[i].For.IsValid() {
			break
		}
		addr = chain[i].For
	}
	return addr
}

func AppendNode(dst []byte, peer netip.Addr) []byte {
	if !peer.IsValid() {
		return append(dst, unknown...)
	}
	return peer.AppendTo(dst)
}

const unknown = "unknown"

// Node names a peer; one without an IP address is unknown (RFC 7239, 6.2).
func Node(peer netip.Addr) string {
	if !peer.IsValid() {
		return unknown
	}
	return peer.String()
}
