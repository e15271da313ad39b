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

// security is what makes a line's connections private; the zero value leaves them plain.
type security struct {
	tls   *tls.Config
	trust *trust.Keeper
}

// Refused counts the masters that were refused, or that refused us for our certificate
// or the want of one, by reason.
func (c *Client) Refused() *trust.Tally { return &c.line.refused }

// Refused counts, over all masters, those that were refused, or that refused us for our
// certificate or the want of one, by reason.
func (a *Agent) Refused() *trust.Tally { return &a.refused }

// secure makes a new connection what the configuration wants. It closes one that fails.
func (l *line) secure(ctx context.Context, conn net.Conn, master string) (net.Conn, error) {
	handshake := l.encrypt
	switch {
	case l.security.trust != nil:
		handshake = l.prove
	case l.security.tls == nil:
		return conn, nil
	}
	below := beneathTLS(conn)
	secure, err := handshake(ctx, below, master)
	if err != nil {
		return nil, err
	}
	return afterHandshake(secure, below), nil
}

// prove makes sure that a master is at the other end, and tells whoever is there if not.
func (l *line) prove(ctx context.Context, conn net.Conn, _ string) (net.Conn, error) {
	secure, peer, err := l.security.trust.Secure(ctx, conn)
	if err == nil {
		l.proven = peer
		return secure, nil
	}
	if secure != nil {
		_ = secure.SetDeadline(time.Now().Add(partTime))
		_, _ = secure.Write((&wire.Fail{Code: wire.Forbidden, Detail: "your certificate is refused: " + err.Error()}).Append(nil)) // a courtesy
	}
	conn.Close()
	l.count(err)
	return nil, fmt.Errorf("refused: %w", err)
}

func (l *line) encrypt(ctx context.Context, conn net.Conn, master string) (net.Conn, error) {
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

// count enters a refusal, by us or by the master, into the tally.
// guard has the connection end when the master's certificate is not good any more, until stop is called.
func (l *line) guard(conn net.Conn) (stop func()) {
	if l.security.trust == nil {
		return func() {}
	}
	return l.security.trust.Guard(l.proven, func(err error) {
		l.count(err)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(conn, err)
	})
}

// CertificateEnds returns when the certificate by which we prove who we are comes to its end, in seconds since
// 1970; zero: there is none.
func (a *Agent) CertificateEnds() float64 { return a.cfg.Trust.Ends() }

// CertificateEnds returns when the certificate by which we prove who we are comes to its end, in seconds since
// 1970; zero: there is none.
func (m *Masters) CertificateEnds() float64 { return m.cfg.Trust.Ends() }

func (l *line) count(err error) {
	if fail, ok := errors.AsType[*wire.Fail](err); ok && fail.Code == wire.Forbidden {
		err = &trust.Refusal{Reason: trust.ByPeer, Detail: fail.Detail}
	}
	l.refused.Add(err)
	if l.also != nil {
		l.also.Add(err)
	}
}
