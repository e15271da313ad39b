package edge

import "crypto/tls"

// target returns the target of the last grant.
func (x *exchange) target() target {
	secure, address := x.serverAddr()
	to := target{address: address}
	if secure || x.route.ServerTLS != nil {
		to.tls, to.name = x.route.tls, certName(x.grant.Address)
	}
	return to
}

// setServerTLS completes the routes' TLS configurations.
func setServerTLS(listeners []*boundListener) {
	complete := make(map[reach]*tls.Config)
	for _, l := range listeners {
		for _, r := range l.routes {
			by := reach{r.ServerProtocol, r.ServerTLS}
			if complete[by] == nil {
				complete[by] = by.completeTLS()
			}
			r.tls = complete[by]
		}
	}
}

// reach is how servers are reached.
type reach struct {
	protocol Protocol
	secure   *tls.Config
}

func (by reach) completeTLS() *tls.Config {
	if by.protocol == HTTP2 {
		return completeTLS(by.secure, protoHTTP2)
	}
	return completeTLS(by.secure, protoHTTP1)
}
