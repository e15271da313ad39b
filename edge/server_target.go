package edge

import (
	"crypto/tls"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// serverAddr returns whether the granted server speaks TLS, and where it is connected to, as resolve.Dialer takes it.
func (e *Edge) serverAddr(grant *balance.Grant) (secure bool, at string) {
	secure, at = balance.SplitAddress(grant.Address)
	switch leads := grant.At; leads {
	case "": // the address needs no look-up
	case balance.AtEdge:
		if known := e.names.At(resolve.Query{Resolvers: e.resolvers}, at); known != "" {
			at = known
		}
	default:
		at = leads
	}
	return secure, at
}

// targetOf returns the target of an exchange's last grant.
func (e *Edge) targetOf(x *exchange.Exchange) upstream.Target {
	secure, address := e.serverAddr(&x.Grant)
	to := upstream.Target{Address: address}
	if secure || x.Route.ServerTLS != nil {
		to.TLS, to.Name = x.Route.DialTLS, certName(x.Grant.Address)
	}
	return to
}

// setServerTLS completes the routes' TLS configurations.
func setServerTLS(listeners []*routing.BoundListener) {
	complete := make(map[reach]*tls.Config)
	for _, l := range listeners {
		for _, r := range l.BoundRoutes {
			by := reach{r.ServerProtocol, r.ServerTLS}
			if complete[by] == nil {
				complete[by] = by.completeTLS()
			}
			r.DialTLS = complete[by]
		}
	}
}

// reach is how servers are reached.
type reach struct {
	protocol routing.Protocol
	secure   *tls.Config
}

func (by reach) completeTLS() *tls.Config {
	if by.protocol == routing.HTTP2 {
		return upstream.CompleteTLS(by.secure, routing.ALPNHTTP2)
	}
	return upstream.CompleteTLS(by.secure, routing.ALPNHTTP1)
}
