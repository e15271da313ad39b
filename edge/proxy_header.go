package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/preface"
)

// wantsProxyHeader reports whether connections of the listener begin with a PROXY header.
func (l *boundListener) wantsProxyHeader() bool { return len(l.ProxyTrusted) > 0 }

var errDenied = errors.New("the listener's allow and deny leave this address out")

var errConnections = errors.New("the client has as many connections as client_limits allow")

var errForeign = errors.New("only the networks of proxy_protocol.trusted may connect here")

// readProxyHeader reads the PROXY header from a new connection, and no byte more. The caller sets the
// deadline; peer is the other end. Where a header is required no connection is accepted without one: otherwise
// every client could choose its address.
func (l *boundListener) readProxyHeader(nc io.Reader, peer netip.Addr) (told preface.Proxy, err error) {
	var room [256]byte
	b := room[:0]
	for {
		told, more, err := l.parseProxyHeader(peer, b)
		if err != nil || more == 0 {
			return told, err
		}
		start := len(b)
		b = append(b, make([]byte, more)...)
		if _, err := io.ReadFull(nc, b[start:]); err != nil {
			return told, fmt.Errorf("PROXY header: %w", err)
		}
	}
}

// parseProxyHeader parses a PROXY header; more is how many bytes of it are at least still to come, zero: it is
// complete.
func (l *boundListener) parseProxyHeader(peer netip.Addr, come []byte) (told preface.Proxy, more int, err error) {
	if !within(l.ProxyTrusted, peer) {
		return told, 0, fmt.Errorf("from %s: %w", node(peer), errForeign)
	}
	return preface.ReadProxy(come)
}

// logRefused logs a connection that was refused for its first bytes. Where a PROXY header is required the
// reason is mostly a proxy that sends none, hence a warning; a connection that ends without a byte is a health
// check.
func (l *boundListener) logRefused(log *slog.Logger, client netip.Addr, err error) {
	level, text := slog.LevelDebug, "connection refused"
	if l.wantsProxyHeader() && !errors.Is(err, io.EOF) && !errors.Is(err, errDenied) && !errors.Is(err, errConnections) {
		level, text = slog.LevelWarn, "connection refused: the listener wants a PROXY header before all else"
	}
	log.Log(context.Background(), level, text, "listener", l.Listen, "client", node(client), "err", err)
}

// refusal returns the reason for a refused connection.
func refusal(err error) string {
	switch {
	case errors.Is(err, errDenied):
		return reasonDenied
	case errors.Is(err, errConnections):
		return reasonConnections
	}
	return reasonPreface
}
