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

// readProxyHeader reads the PROXY header from a connection of which nothing was read, and no
// byte more. The caller sets the deadline; peer is the other end. Where a listener wants a header,
// nobody gets in without: to guess would let anybody say where they come from.
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

// parseProxyHeader is what a peer's PROXY header says, and how many bytes of it are at least
// still to come; zero: it is whole.
func (l *boundListener) parseProxyHeader(peer netip.Addr, come []byte) (told preface.Proxy, more int, err error) {
	if !within(l.ProxyTrusted, peer) {
		return told, 0, fmt.Errorf("from %s: %w", node(peer), errForeign)
	}
	return preface.ReadProxy(come)
}

// logRefused logs a connection that was refused for what it said first. Where a PROXY header is due that is mostly a proxy
// that sends none, so it is a warning; a connection that ends without a word is a health check.
func (l *boundListener) logRefused(log *slog.Logger, client netip.Addr, err error) {
	level, text := slog.LevelDebug, "connection refused"
	if l.wantsProxyHeader() && !errors.Is(err, io.EOF) && !errors.Is(err, errDenied) && !errors.Is(err, errConnections) {
		level, text = slog.LevelWarn, "connection refused: the listener wants a PROXY header before all else"
	}
	log.Log(context.Background(), level, text, "listener", l.Listen, "client", node(client), "err", err)
}

// refusal is the reason of a connection that is refused for what it said first, or whence it came.
func refusal(err error) string {
	switch {
	case errors.Is(err, errDenied):
		return reasonDenied
	case errors.Is(err, errConnections):
		return reasonConnections
	}
	return reasonPreface
}
