package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// servers are the connections to servers that an engine keeps, apart by how their
// servers prove who they are: a connection made on one route's word must not serve
// another's.
type servers struct {
	plain  *upstreams
	secure *upstreams                 // of servers whose address says so, and whose route says nothing of it
	own    map[*tls.Config]*upstreams // of routes that do
	round  map[reach]*http.Transport  // for clients of HTTP/2
}

// reach is how servers are reached.
type reach struct {
	protocol Protocol
	secure   *tls.Config
}

// resumedMost is how many servers' TLS sessions are remembered for each setting.
const resumedMost = 1024

func newServers(e *Edge) *servers {
	dialer := e.reaches
	s := &servers{plain: newUpstreams(dialer, nil), secure: newUpstreams(dialer, serverTLS(reach{})), own: make(map[*tls.Config]*upstreams), round: make(map[reach]*http.Transport)}
	for _, l := range e.listeners {
		for _, r := range l.routes {
			if by := (reach{r.ServerProtocol, r.ServerTLS}); s.round[by] == nil {
				s.round[by] = newTransport(&e.cfg, dialer, by)
			}
			if r.ServerTLS != nil && s.own[r.ServerTLS] == nil {
				s.own[r.ServerTLS] = newUpstreams(dialer, serverTLS(reach{secure: r.ServerTLS}))
			}
		}
	}
	return s
}

// serverTLS completes a route's TLS configuration, which may be nil, for connections to its servers.
func serverTLS(by reach) *tls.Config {
	cfg := by.secure.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.NextProtos = []string{protoHTTP1}
	if by.protocol == HTTP2 {
		cfg.NextProtos = []string{protoHTTP2}
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(resumedMost)
	return cfg
}

// of returns the connections among which one to the granted server is, and by what.
func (s *servers) of(x *exchange) (kept *upstreams, where string) {
	secure, at := x.where()
	switch {
	case x.route.ServerTLS != nil:
		return s.own[x.route.ServerTLS], under(at, called(x.grant.Address))
	case secure:
		return s.secure, under(at, called(x.grant.Address))
	}
	return s.plain, at
}

func (s *servers) each(do func(*upstreams)) {
	do(s.plain)
	do(s.secure)
	for _, u := range s.own {
		do(u)
	}
}

// tend closes what nobody has used for too long.
func (s *servers) tend(now balance.Instant) { s.each(func(u *upstreams) { u.tend(now) }) }

func (s *servers) close() {
	s.each((*upstreams).close)
	for _, t := range s.round {
		t.CloseIdleConnections()
	}
}

// whereKey is what a request's context has by the name of where its server is.
type whereKey struct{}

// newTransport makes what carries streams to servers. It keeps its connections as
// upstreams does, and those of HTTP/2, which tell when they close, for longer.
func newTransport(cfg *Config, dialer *resolve.Dialer, by reach) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if at, ok := ctx.Value(whereKey{}).(string); ok {
				address = at
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        serverTLS(by),
		TLSHandshakeTimeout:    cfg.ConnectTimeout,
		ResponseHeaderTimeout:  cfg.ResponseTimeout,
		MaxResponseHeaderBytes: responseHeadMost,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleMost,
		IdleConnTimeout:        upstreamIdle,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(by.protocol == HTTP1)
	if by.protocol == HTTP2 {
		t.Protocols.SetHTTP2(true)
		t.Protocols.SetUnencryptedHTTP2(true)
		t.IdleConnTimeout = defaultIdleTimeout
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait, WriteByteTimeout: defaultIdleTimeout}
	}
	return t
}
