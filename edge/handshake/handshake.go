package handshake

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// A goroutine does what comes before a client's first request, if that takes more than reading it: a PROXY
// header, a TLS handshake, the HTTP/2 preface. A loop gets the connection once its protocol is known.

// Conn is a client's connection until its first request. Its goroutine owns it, except for what mu
// guards.
type Conn struct {
	net.Conn  // below TLS
	of        *Conns
	Peer      netip.Addr         // or the client named by the PROXY header
	LimitAddr netip.Addr         // LimitConn has counted it; invalid: none
	TLS       *eventloop.TLSConn // nil: no TLS
	Shown     *routing.ClientTLS // what the client has shown by it; nil: nothing
	Input     []byte             // read, and passed to the loop

	mu       sync.Mutex
	deadline time.Time // bounds all waits; zero: none
}

// Conns are a listener's connections that no loop has yet. init makes it ready.
type Conns struct {
	listener *routing.BoundListener
	deps     *exchange.Deps
	serving  sync.WaitGroup // their goroutines

	mu  sync.Mutex
	all map[*Conn]struct{} // guarded by mu
}

func (all *Conns) Init(deps *exchange.Deps, listener *routing.BoundListener) {
	all.deps, all.listener, all.all = deps, listener, make(map[*Conn]struct{})
}

// Add adds a new connection. LimitConn has counted it if LimitAddr is valid.
func (all *Conns) Add(conn net.Conn, peer, limitAddr netip.Addr) *Conn {
	g := &Conn{Conn: conn, of: all, Peer: peer, LimitAddr: limitAddr}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.all[g] = struct{}{}
	return g
}

// Serve has a goroutine serve the connection until a request may follow, or none does, and then call done. It may not
// be limited any more by then.
func (all *Conns) Serve(g *Conn, done func(good bool)) {
	all.serving.Go(func() {
		good := g.prepare()
		all.remove(g)
		done(good)
	})
}

// Wait returns when done has been called for all connections.
func (all *Conns) Wait() { all.serving.Wait() }

// remove takes one out, which nothing ends any more.
func (all *Conns) remove(g *Conn) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.all, g)
	_ = g.SetDeadline(time.Time{}) // an error is the connection's, which the loop sees
}

// LimitTime bounds the time of all connections.
func (all *Conns) LimitTime(t time.Time) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for g := range all.all {
		g.LimitTime(t)
	}
}

// firstRead is the bytes of a connection that are read before its protocol is known, at most.
const firstRead = 4 << 10

// Past is a deadline that ends a wait at once.
var Past = time.Unix(1, 0)

// LimitTime bounds the time that is left, whatever the connection waits for. Any goroutine may call it.
func (g *Conn) LimitTime(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deadline.IsZero() || t.Before(g.deadline) {
		g.deadline = t
		_ = g.SetDeadline(t) // an error is the connection's, which its goroutine sees
	}
}

// setTimeout sets how long the next step may take.
func (g *Conn) setTimeout(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Now().Add(wait)
	if !g.deadline.IsZero() && g.deadline.Before(at) {
		at = g.deadline
	}
	_ = g.SetDeadline(at) // an error shows in the next read
}

// prepare reports whether a request may follow.
func (g *Conn) prepare() bool {
	if !g.readProxyHeader() {
		return false
	}
	if g.of.listener.TLS != nil {
		return g.handshake()
	}
	return !g.of.listener.H2C || g.awaitPreface()
}

// readProxyHeader reads the PROXY header, if the listener requires one, and checks that its client may
// connect. It comes before TLS.
func (g *Conn) readProxyHeader() bool {
	l, deps := g.of.listener, g.of.deps
	if l.WantsProxyHeader() {
		g.setTimeout(l.HeaderTimeout)
		proxied, err := readProxyHeader(l, g.Conn, g.Peer)
		if err != nil {
			deps.Metrics.Refused(exchange.ReasonPreface)
			deps.LogRefused(l, g.Peer, err)
			g.resetClose()
			return false
		}
		if proxied.Source.IsValid() {
			g.Peer = proxied.Source.Addr()
		}
	}
	if g.LimitAddr.IsValid() {
		return true
	}
	if why := l.LimitConn(g.Peer); why != nil {
		deps.Metrics.ConnRefused(why)
		g.resetClose()
		return false
	}
	g.LimitAddr = g.Peer
	return true
}

// resetClose closes the connection by a reset, the only way to say that it is refused.
func (g *Conn) resetClose() {
	if tcp, ok := g.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // no effect on a connection that is gone
	}
	_ = g.Close()
}

// handshake makes the TLS handshake, within the time allowed for a request head.
func (g *Conn) handshake() bool {
	l := g.of.listener
	g.setTimeout(l.HeaderTimeout)
	g.TLS = eventloop.NewServerTLS(g.Conn, l.TLS)
	err := g.TLS.TLS.Handshake()
	if err == nil {
		state := g.TLS.TLS.ConnectionState()
		g.Shown = routing.NewClientTLS(&state)
		return true
	}
	g.of.deps.Log.Debug("handshake failed", "listen", l.Listen, "client", g.Peer, "err", err)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis address takes HTTPS only\n")
	}
	return false
}

// awaitPreface reads until it is certain whether the client sends HTTP/2's preface; false: the client sends
// nothing.
func (g *Conn) awaitPreface() bool {
	l, buf := g.of.listener, make([]byte, firstRead)
	g.setTimeout(l.SilentTime())
	for {
		n, err := g.Read(buf[len(g.Input):])
		if len(g.Input) == 0 {
			g.setTimeout(l.HeaderTimeout)
		}
		g.Input = buf[:len(g.Input)+n]
		if err != nil || len(g.Input) >= len(h2.Preface) || !bytes.HasPrefix([]byte(h2.Preface), g.Input) {
			return len(g.Input) > 0 // if something is missing, the HTTP/1 parser reports it
		}
	}
}

// SpeaksHTTP2 reports whether the client has agreed on HTTP/2 or begun with its preface.
func (g *Conn) SpeaksHTTP2() bool {
	if g.TLS != nil {
		return g.TLS.TLS.ConnectionState().NegotiatedProtocol == routing.ALPNHTTP2
	}
	return bytes.HasPrefix(g.Input, []byte(h2.Preface))
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

// looksLikeHTTP reports whether a client sends HTTP instead of TLS.
func looksLikeHTTP(first [5]byte) bool {
	for _, c := range first {
		if c != ' ' && c != '/' && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
