package routing

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/preface"
)

// WantsProxyHeader reports whether connections of the listener begin with a PROXY header.
func (l *BoundListener) WantsProxyHeader() bool { return len(l.ProxyTrusted) > 0 }

var ErrDenied = errors.New("the listener's allow and deny leave this address out")

var ErrConnections = errors.New("the client has as many connections as client_limits allow")

var errForeign = errors.New("only the networks of proxy_protocol.trusted may connect here")

// ParseProxyHeader parses a PROXY header; more is how many bytes of it are at least still to come, zero: it is
// complete.
func (l *BoundListener) ParseProxyHeader(peer netip.Addr, come []byte) (told preface.Proxy, more int, err error) {
	if !within(l.ProxyTrusted, peer) {
		return told, 0, fmt.Errorf("from %s: %w", Node(peer), errForeign)
	}
	return preface.ReadProxy(come)
}
