package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
)

// TLS to servers, of HTTP/1.1 and of HTTP/2. A goroutine connects and makes the handshake; then the loop
// goroutine owns the connection, as it owns plain ones.

// target identifies a connection to a server: requests share one only if all fields are equal.
type target struct {
	address string      // as resolve.Dialer takes it
	tls     *tls.Config // how the server proves its identity; nil: the connection is plain
	name    string      // the name in its certificate, if tls has none; empty: the connection is plain
}

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
				complete[by] = serverTLS(by)
			}
			r.tls = complete[by]
		}
	}
}

// handshake makes a TLS handshake with a server, which must prove to be the target.
func handshake(ctx context.Context, conn net.Conn, to *target) (*tlsConn, error) {
	cfg := to.tls.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = to.name
	}
	cfg.ClientSessionCache = serverSessions{cfg.ClientSessionCache, to.address}
	s := &tlsConn{Conn: conn}
	s.tls = tls.Client(s, cfg)
	if err := s.tls.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if agreed := s.tls.ConnectionState().NegotiatedProtocol; agreed != protoHTTP2 && slices.Contains(cfg.NextProtos, protoHTTP2) {
		return nil, fmt.Errorf("the server agreed on protocol %q by TLS, want %q", agreed, protoHTTP2)
	}
	return s, nil
}

// serverSessions is one server's part of a session cache. crypto/tls would keep one session for all servers of
// a name.
type serverSessions struct {
	all     tls.ClientSessionCache
	address string
}

// Get implements tls.ClientSessionCache.
func (s serverSessions) Get(name string) (*tls.ClientSessionState, bool) {
	return s.all.Get(s.address + " " + name)
}

// Put implements tls.ClientSessionCache.
func (s serverSessions) Put(name string, session *tls.ClientSessionState) {
	s.all.Put(s.address+" "+name, session)
}

// reach is how servers are reached.
type reach struct {
	protocol Protocol
	secure   *tls.Config
}

// maxResumed bounds the remembered TLS sessions of each configuration.
const maxResumed = 1024

// serverTLS completes a route's TLS configuration, which may be nil.
func serverTLS(by reach) *tls.Config {
	cfg := by.secure.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.NextProtos = []string{protoHTTP1}
	if by.protocol == HTTP2 {
		cfg.NextProtos = []string{protoHTTP2}
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(maxResumed)
	return cfg
}
