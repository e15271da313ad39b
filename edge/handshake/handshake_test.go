package handshake

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/h2"
)

var (
	peer   = netip.MustParseAddr("192.0.2.1")
	behind = netip.MustParseAddr("198.51.100.7")
	within = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

// begin has a connection served whose client sends these bytes and then no more. If closed, it ends its side.
func begin(t *testing.T, l routing.Listener, sends string, closed bool) (all *Conns, g *Conn, done chan bool) {
	t.Helper()
	l.Listen, l.Routes, l.HeaderTimeout, l.IdleTimeout = "127.0.0.1:0", []routing.Route{{Pool: "web"}}, time.Hour, time.Hour
	bound, err := routing.Bind(l, func(string) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	all, done = new(Conns), make(chan bool, 1)
	all.Init(exchange.NewDeps(exchange.Settings{Log: slog.New(slog.DiscardHandler)}, nil), bound)
	counted := peer
	if bound.WantsProxyHeader() {
		counted = netip.Addr{}
	}
	g = all.Add(near, peer, counted)
	all.Serve(g, func(good bool) { done <- good })
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	go func() {
		_, _ = io.WriteString(far, sends) // an end of the connection is what the other side reports
		if closed {
			_ = far.Close()
		}
	}()
	return all, g, done
}

// A listener takes HTTP/1 and HTTP/2 without TLS, and nothing that was read is lost.
func TestTheFirstBytesSayTheProtocol(t *testing.T) {
	for _, c := range []struct {
		what, sends string
		closed      bool
		good, two   bool
	}{
		{"HTTP/2", h2.Preface, false, true, true},
		{"HTTP/1", "GET / HTTP/1.1\r\n", false, true, false},
		{"a method that begins like the preface", "PRINT / HTTP/1.1\r\n", false, true, false},
		{"a part of the preface", h2.Preface[:10], true, true, false},
		{"nothing", "", true, false, false},
	} {
		_, g, done := begin(t, routing.Listener{H2C: true}, c.sends, c.closed)
		if good := <-done; good != c.good || g.SpeaksHTTP2() != c.two || string(g.Input) != c.sends {
			t.Errorf("%s: a request may follow: %v, HTTP/2: %v, read: %q; want %v, %v, %q", c.what, good, g.SpeaksHTTP2(), g.Input, c.good, c.two, c.sends)
		}
	}
}

// The client is whom the proxy names, for the listener's rules too, and a connection without a header is refused.
func TestThePROXYHeaderNamesTheClient(t *testing.T) {
	const header = "PROXY TCP4 198.51.100.7 203.0.113.1 1234 80\r\n"
	deny := []netip.Prefix{netip.PrefixFrom(behind, 32)}
	for _, c := range []struct {
		what        string
		sends       string
		deny        []netip.Prefix
		good        bool
		is, counted netip.Addr
	}{
		{"named", header, nil, true, behind, behind},
		{"named, and denied", header, deny, false, behind, netip.Addr{}},
		{"the proxy itself", "PROXY UNKNOWN\r\n", deny, true, peer, peer},
		{"no header", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", nil, false, peer, netip.Addr{}},
	} {
		_, g, done := begin(t, routing.Listener{ProxyTrusted: within, Deny: c.deny}, c.sends, false)
		if good := <-done; good != c.good || g.Peer != c.is || g.LimitAddr != c.counted {
			t.Errorf("%s: a request may follow: %v, from %v, counted for %v; want %v, %v, %v", c.what, good, g.Peer, g.LimitAddr, c.good, c.is, c.counted)
		}
	}
}

// A client that sends nothing holds up no edge that stops, and what its connection waited for is no concern of the loop
// that gets it.
func TestWaitsCanBeEnded(t *testing.T) {
	all, _, done := begin(t, routing.Listener{H2C: true}, "", false)
	all.LimitTime(Past)
	if <-done {
		t.Error("a request may follow on a connection that has brought nothing")
	}
	all.Wait()

	_, g, done := begin(t, routing.Listener{H2C: true}, "", false)
	g.LimitTime(Past)
	if g.LimitTime(time.Now().Add(time.Hour)); <-done {
		t.Error("a later limit has lifted an earlier one")
	}
	if len(g.of.all) != 0 {
		t.Errorf("%d connections wait after the last was handed over", len(g.of.all))
	}
}
