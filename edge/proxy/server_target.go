package proxy

import (
	"crypto/tls"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
)

// targetOf returns the target of an exchange's last grant.
func (e *Engine) targetOf(x *exchange.Exchange) upstream.Target {
	secure, address := e.dialer.Address(&x.Grant)
	to := upstream.Target{Address: address}
	if secure || x.Route.ServerTLS != nil {
		to.TLS, to.Name = x.Route.DialTLS, upstream.CertName(x.Grant.Address)
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
