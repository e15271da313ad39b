package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// security is how a connLoop encrypts its connections; the zero value does not.
type security struct {
	tls   *tls.Config
	trust *trust.Keeper
}

// Refused counts, by reason, the masters that were refused and those that refused this process's certificate.
func (c *Client) Refused() *trust.Tally { return &c.loop.refusals }

// Refused counts, by reason and over all masters, the masters that were refused and those that refused this
// process's certificate.
func (a *Agent) Refused() *trust.Tally { return &a.refused }

// secure encrypts a new connection as configured. It closes one that fails.
func (l *connLoop) secure(ctx context.Context, conn net.Conn, master string) (net.Conn, error) {
	handshake := l.handshakeTLS
	switch {
	case l.security.trust != nil:
		handshake = l.authenticate
	case l.security.tls == nil:
		return conn, nil
	}
	below := tlsTransportFor(conn)
	secure, err := handshake(ctx, below, master)
	if err != nil {
		return nil, err
	}
	return wrapTLS(secure, below), nil
}

// authenticate verifies that the other end is a master, and tells the peer if it is not.
func (l *connLoop) authenticate(ctx context.Context, conn net.Conn, _ string) (net.Conn, error) {
	secure, peer, err := l.security.trust.Secure(ctx, conn)
	if err == nil {
		l.peer = peer
		return secure, nil
	}
	if secure != nil {
		_ = secure.SetDeadline(time.Now().Add(goodbyeTimeout))
		_, _ = secure.Write((&wire.Fail{Code: wire.Forbidden, Detail: "your certificate is refused: " + err.Error()}).Append(nil)) // best effort
	}
	conn.Close()
	l.countRefusal(err)
	return nil, fmt.Errorf("refused: %w", err)
}

func (l *connLoop) handshakeTLS(ctx context.Context, conn net.Conn, master string) (net.Conn, error) {
	cfg := l.security.tls
	if cfg.ServerName == "" && !strings.HasPrefix(master, "unix:") {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(master)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}

// watchCertificate ends the connection when the master's certificate expires or is denied, until stop is
// called.
func (l *connLoop) watchCertificate(conn net.Conn) (stop func()) {
	if l.security.trust == nil {
		return func() {}
	}
	return l.security.trust.Guard(l.peer, func(err error) {
		l.countRefusal(err)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closeConnLocked(conn, err)
	})
}

// CertificateEnds returns when this agent's certificate expires, in seconds since 1970; zero: there is none.
func (a *Agent) CertificateEnds() float64 { return a.cfg.Trust.Ends() }

// CertificateEnds returns when this edge's certificate expires, in seconds since 1970; zero: there is none.
func (m *Masters) CertificateEnds() float64 { return m.cfg.Trust.Ends() }

func (l *connLoop) countRefusal(err error) {
	if fail, ok := errors.AsType[*wire.Fail](err); ok && fail.Code == wire.Forbidden {
		err = &trust.Refusal{Reason: trust.ByPeer, Detail: fail.Detail}
	}
	l.refusals.Add(err)
	if l.parentTally != nil {
		l.parentTally.Add(err)
	}
}
