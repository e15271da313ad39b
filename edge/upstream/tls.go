package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
)

// TLS to servers, of HTTP/1.1 and of HTTP/2. A goroutine connects and makes the handshake; then the loop
// goroutine owns the connection, as it owns plain ones.

// Target identifies a connection to a server: requests share one only if all fields are equal.
type Target struct {
	Address string      // as resolve.Dialer takes it
	TLS     *tls.Config // how the server proves its identity; nil: the connection is plain
	Name    string      // the name in its certificate, if tls has none; empty: the connection is plain
}

// handshake makes a TLS handshake with a server, which must prove to be the target.
func handshake(ctx context.Context, conn net.Conn, to *Target) (*eventloop.TLSConn, error) {
	cfg := to.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = to.Name
	}
	cfg.ClientSessionCache = serverSessions{cfg.ClientSessionCache, to.Address}
	s := &eventloop.TLSConn{Conn: conn}
	s.TLS = tls.Client(s, cfg)
	if err := s.TLS.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	const two = "h2" // a server of HTTP/1.1 may agree on nothing
	if agreed := s.TLS.ConnectionState().NegotiatedProtocol; agreed != two && slices.Contains(cfg.NextProtos, two) {
		return nil, fmt.Errorf("the server agreed on protocol %q by TLS, want %q", agreed, two)
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

// maxResumed bounds the remembered TLS sessions of each configuration.
const maxResumed = 1024

// CompleteTLS completes a TLS configuration for servers that speak a protocol of ALPN (RFC 7301). A nil one is the
// default.
func CompleteTLS(cfg *tls.Config, protocol string) *tls.Config {
	if cfg = cfg.Clone(); cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.NextProtos = []string{protocol}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(maxResumed)
	return cfg
}
