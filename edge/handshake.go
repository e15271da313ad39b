package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// A goroutine does what comes before a client's first request, if that takes more than reading it: a PROXY
// header, a TLS handshake, the HTTP/2 preface. A loop gets the connection once its protocol is known.

// handshakeConn is a client's connection until its first request. Its goroutine owns it, except for what mu
// guards.
type handshakeConn struct {
	net.Conn  // below TLS
	service   *listenerService
	peer      netip.Addr         // or the client named by the PROXY header
	limitAddr netip.Addr         // LimitConn has counted it; invalid: none
	secure    *eventloop.TLSConn // nil: no TLS
	shown     *routing.ClientTLS // what the client has shown by it; nil: nothing
	input     []byte             // read, and passed to the loop

	mu       sync.Mutex
	deadline time.Time // bounds all waits; zero: none
}

// handshakeConns are those of one listener.
type handshakeConns struct {
	serving sync.WaitGroup

	mu  sync.Mutex
	all map[*handshakeConn]struct{}
}

// handshakeInBackground has a goroutine serve a new connection until its first request. LimitConn has counted
// it if limitAddr is valid.
func (s *listenerService) handshakeInBackground(descriptor *fd.FD, peer, limitAddr netip.Addr) {
	conn, err := descriptor.Conn()
	if err != nil {
		s.connClosed(limitAddr) // lost, for want of a descriptor
		return
	}
	g := &handshakeConn{Conn: conn, service: s, peer: peer, limitAddr: limitAddr}
	s.handshakes.add(g)
	if s.draining.Load() {
		g.limitTime(time.Now().Add(s.firstWait()))
	}
	if s.killed.Load() {
		g.limitTime(past)
	}
	s.handshakes.serving.Go(func() {
		taken := g.prepare()
		s.handshakes.remove(g)
		if taken && s.moveToLoop(g) {
			return
		}
		_ = conn.Close() // all bytes are sent
		s.connClosed(g.limitAddr)
	})
}

func (all *handshakeConns) add(g *handshakeConn) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.all == nil {
		all.all = make(map[*handshakeConn]struct{})
	}
	all.all[g] = struct{}{}
}

// remove takes one out, which nothing ends any more.
func (all *handshakeConns) remove(g *handshakeConn) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.all, g)
	_ = g.SetDeadline(time.Time{}) // an error is the connection's, which the loop sees
}

// limitTimeOfAll bounds the time of all connections.
func (all *handshakeConns) limitTimeOfAll(t time.Time) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for g := range all.all {
		g.limitTime(t)
	}
}

// past is a deadline that ends a wait at once.
var past = time.Unix(1, 0)

// limitTime bounds the time that is left, whatever the connection waits for. Any goroutine may call it.
func (g *handshakeConn) limitTime(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deadline.IsZero() || t.Before(g.deadline) {
		g.deadline = t
		_ = g.SetDeadline(t) // an error is the connection's, which its goroutine sees
	}
}

// setTimeout sets how long the next step may take.
func (g *handshakeConn) setTimeout(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Now().Add(wait)
	if !g.deadline.IsZero() && g.deadline.Before(at) {
		at = g.deadline
	}
	_ = g.SetDeadline(at) // likewise
}

// prepare reports whether a request may follow.
func (g *handshakeConn) prepare() bool {
	if !g.readProxyHeader() {
		return false
	}
	if g.service.listener.TLS != nil {
		return g.handshake()
	}
	return !g.service.listener.H2C || g.awaitPreface()
}

// readProxyHeader reads the PROXY header, if the listener requires one, and checks that its client may
// connect. It comes before TLS.
func (g *handshakeConn) readProxyHeader() bool {
	l, e := g.service.listener, g.service.engine
	if l.WantsProxyHeader() {
		g.setTimeout(l.HeaderTimeout)
		proxied, err := readProxyHeader(l, g.Conn, g.peer)
		if err != nil {
			e.deps.Metrics.Refused(exchange.ReasonPreface)
			logRefused(e.deps.Log, l, g.peer, err)
			g.resetClose()
			return false
		}
		if proxied.Source.IsValid() {
			g.peer = proxied.Source.Addr()
		}
	}
	if g.limitAddr.IsValid() {
		return true
	}
	if why := l.LimitConn(g.peer); why != nil {
		e.deps.Metrics.ConnRefused(why)
		g.resetClose()
		return false
	}
	g.limitAddr = g.peer
	return true
}

// ResetClose closes the connection by a reset, the only way to say that it is refused.
func (g *handshakeConn) resetClose() {
	if tcp, ok := g.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // no effect on a connection that is gone
	}
	_ = g.Close()
}

// handshake makes the TLS handshake, within the time allowed for a request head.
func (g *handshakeConn) handshake() bool {
	l := g.service.listener
	g.setTimeout(l.HeaderTimeout)
	g.secure = eventloop.NewServerTLS(g.Conn, l.TLS)
	err := g.secure.TLS.Handshake()
	if err == nil {
		state := g.secure.TLS.ConnectionState()
		g.shown = routing.NewClientTLS(&state)
		return true
	}
	g.service.engine.deps.Log.Debug("handshake failed", "listen", l.Listen, "client", g.peer, "err", err)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis address takes HTTPS only\n")
	}
	return false
}

// awaitPreface reads until it is certain whether the client sends HTTP/2's preface; false: the client sends
// nothing.
func (g *handshakeConn) awaitPreface() bool {
	l, buf := g.service.listener, make([]byte, firstInput)
	g.setTimeout(l.SilentTime())
	for {
		n, err := g.Read(buf[len(g.input):])
		if len(g.input) == 0 {
			g.setTimeout(l.HeaderTimeout)
		}
		g.input = buf[:len(g.input)+n]
		if err != nil || len(g.input) >= len(h2.Preface) || !bytes.HasPrefix([]byte(h2.Preface), g.input) {
			return len(g.input) > 0 // if something is missing, the HTTP/1 parser reports it
		}
	}
}

// speaksHTTP2 reports whether the client has agreed on HTTP/2 or begun with its preface.
func (g *handshakeConn) speaksHTTP2() bool {
	if g.secure != nil {
		return g.secure.TLS.ConnectionState().NegotiatedProtocol == routing.ALPNHTTP2
	}
	return bytes.HasPrefix(g.input, []byte(h2.Preface))
}

// moveToLoop moves a connection to a loop. It returns false on failure.
func (s *listenerService) moveToLoop(g *handshakeConn) bool {
	two := g.speaksHTTP2()
	descriptor, err := fd.Take(g.Conn)
	if err != nil {
		return false
	}
	descriptor.SetKeepalive(&s.engine.cfg.TCP) // package net has set its own
	to := s.engine.leastLoaded(s.engine.all[0])
	to.clientConns.Add(1)
	peer, tls, shown, early := g.peer, g.secure, g.shown, slices.Clip(g.input)
	begin := func() { to.addClient(s, &descriptor, peer, tls, shown, early) }
	if two {
		begin = func() { to.addH2Client(s, &descriptor, peer, tls, shown, early) }
	}
	if to.Call(begin) {
		return true
	}
	descriptor.Close()
	return false
}

// readProxyHeader reads the PROXY header from a new connection, and no byte more. The caller sets the
// deadline; peer is the other end. Where a header is required no connection is accepted without one: otherwise
// every client could choose its address.
func readProxyHeader(l *routing.BoundListener, nc io.Reader, peer netip.Addr) (told preface.Proxy, err error) {
	var room [256]byte
	b := room[:0]
	for {
		told, more, err := l.ParseProxyHeader(peer, b)
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

// logRefused logs a connection that was refused for its first bytes. Where a PROXY header is required the
// reason is mostly a proxy that sends none, hence a warning; a connection that ends without a byte is a health
// check.
func logRefused(log *slog.Logger, l *routing.BoundListener, client netip.Addr, err error) {
	level, text := slog.LevelDebug, "connection refused"
	if l.WantsProxyHeader() && !errors.Is(err, io.EOF) && !errors.Is(err, routing.ErrDenied) && !errors.Is(err, routing.ErrConnections) {
		level, text = slog.LevelWarn, "connection refused: the listener wants a PROXY header before all else"
	}
	log.Log(context.Background(), level, text, "listener", l.Listen, "client", routing.Node(client), "err", err)
}

// looksLikeHTTP reports whether a client sends HTTP instead of TLS.
func looksLikeHTTP(first [5]byte) bool {
	for _, c := range first {
		if c != ' ' && c != '/' && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
