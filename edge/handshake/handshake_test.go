package handshake

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

const (
	idleIn   = time.Hour // and so long may a new connection be silent
	headerIn = 3 * time.Hour
)

// watched is a connection that notes what is asked of it.
type watched struct {
	net.Conn
	peer net.Conn

	mu        sync.Mutex
	deadlines []time.Time
	linger    []int
}

func (w *watched) SetDeadline(t time.Time) error {
	w.mu.Lock()
	w.deadlines = append(w.deadlines, t)
	w.mu.Unlock()
	return w.Conn.SetDeadline(t)
}

func (w *watched) SetLinger(seconds int) error {
	w.linger = append(w.linger, seconds)
	return nil
}

// begin has a connection served whose client sends these bytes and then no more. If closed, it ends its side.
func begin(t *testing.T, l routing.Listener, sends string, closed bool) (all *Conns, g *Conn, done chan bool) {
	t.Helper()
	l.Listen, l.Routes, l.HeaderTimeout, l.IdleTimeout = "127.0.0.1:0", []routing.Route{{Pool: "web"}}, headerIn, idleIn
	bound, err := routing.Bind(l, func(string) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	pipe, far := net.Pipe()
	near := &watched{Conn: pipe, peer: far}
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
		{"a part of one", header[:20], nil, false, peer, netip.Addr{}},
	} {
		_, g, done := begin(t, routing.Listener{ProxyTrusted: within, Deny: c.deny}, c.sends, len(c.sends) == 20)
		good := <-done
		if reset := len(g.Conn.(*watched).linger) > 0; reset == c.good {
			t.Errorf("%s: reset %v: a connection that is refused is", c.what, reset)
		}
		if good != c.good || g.Peer != c.is || g.LimitAddr != c.counted {
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

// Each step has its time, and a limit on all of them outranks it.
func TestEachStepHasItsTime(t *testing.T) {
	const proxy = "PROXY UNKNOWN\r\n"
	for what, c := range map[string]struct {
		l     routing.Listener
		sends string
		want  []time.Duration // of the steps; then there is no limit
	}{
		"a preface":              {routing.Listener{H2C: true}, h2.Preface, []time.Duration{idleIn, headerIn}},
		"a PROXY header":         {routing.Listener{ProxyTrusted: within}, proxy, []time.Duration{headerIn}},
		"a header and a preface": {routing.Listener{ProxyTrusted: within, H2C: true}, proxy + h2.Preface, []time.Duration{headerIn, idleIn, headerIn}},
	} {
		before := time.Now()
		_, g, done := begin(t, c.l, c.sends, false)
		<-done
		after, got := time.Now(), g.Conn.(*watched).deadlines
		if len(got) != len(c.want)+1 || !got[len(got)-1].IsZero() {
			t.Errorf("%s: deadlines %v, want %d, and none at the end", what, got, len(c.want))
			continue
		}
		for i, wait := range c.want {
			if got[i].Before(before.Add(wait)) || got[i].After(after.Add(wait)) {
				t.Errorf("%s: step %d has %v, want %v", what, i, got[i].Sub(before), wait)
			}
		}
	}

	now := time.Now()
	for limit, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 5 * time.Hour: headerIn} {
		pipe, far := net.Pipe()
		w := &watched{Conn: pipe, peer: far}
		g := &Conn{Conn: w}
		g.LimitTime(now.Add(limit))
		g.setTimeout(headerIn)
		if at := w.deadlines[len(w.deadlines)-1]; at.Before(now.Add(want)) || limit == want && !at.Equal(now.Add(limit)) || at.After(time.Now().Add(want)) {
			t.Errorf("with a limit of %v: %v, want %v", limit, at.Sub(now), want)
		}
		set := len(w.deadlines)
		if g.LimitTime(now.Add(limit + time.Minute)); len(w.deadlines) != set {
			t.Errorf("a limit of %v is lifted by a later one", limit)
		}
		if g.LimitTime(now.Add(time.Minute)); len(w.deadlines) == set || !w.deadlines[set].Equal(now.Add(time.Minute)) {
			t.Errorf("a limit of %v is not brought forward", limit)
		}
		_, _ = pipe.Close(), far.Close()
	}
}

// Who waits for the connections returns when all have been handed over.
func TestWaitingForTheLastConnection(t *testing.T) {
	all, _, _ := begin(t, routing.Listener{H2C: true}, h2.Preface, false)
	pipe, far := net.Pipe()
	defer func() { _ = far.Close() }()
	var over atomic.Bool
	all.Serve(all.Add(pipe, peer, peer), func(bool) { over.Store(true) })
	go func() { _, _ = io.WriteString(far, h2.Preface) }()
	if all.Wait(); !over.Load() {
		t.Error("it returns before the last is handed over")
	}
}

// A refused connection is counted with its reason.
func TestRefusedConnectionsAreCounted(t *testing.T) {
	for _, c := range []struct {
		sends string
		deny  []netip.Prefix
		want  string
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", nil, exchange.ReasonPreface},
		{"PROXY TCP4 198.51.100.7 203.0.113.1 1234 80\r\n", []netip.Prefix{netip.PrefixFrom(behind, 32)}, "denied"},
	} {
		_, g, done := begin(t, routing.Listener{ProxyTrusted: within, Deny: c.deny}, c.sends, false)
		<-done
		all, err := g.of.deps.Metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, family := range all {
			for _, m := range family.Metric {
				for _, label := range m.Label {
					if m.GetCounter().GetValue() == 1 && label.GetName() == "ended" {
						got = append(got, label.GetValue())
					}
				}
			}
		}
		if !slices.Equal(got, []string{c.want}) {
			t.Errorf("%q: counted as %q, want %q", c.sends, got, c.want)
		}
	}
}

// A client that speaks HTTP to an address of HTTPS is told so, and others are not answered in a protocol that they did not begin.
func TestHTTPWhereTLSIsWanted(t *testing.T) {
	noCertificate := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }
	for sends, told := range map[string]bool{"GET / HTTP/1.1\r\n\r\n": true, "\x00\x01\x02\x03\x04\x05": false} {
		_, g, done := begin(t, routing.Listener{Certificate: noCertificate}, "", false)
		far := g.Conn.(*watched).peer
		go func() { _, _ = io.WriteString(far, sends) }()
		answer := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(far)
			answer <- string(text)
		}()
		if <-done {
			t.Errorf("%q: a request may follow", sends)
		}
		_ = g.Close()
		if got := <-answer; strings.Contains(got, "400 Bad Request") != told || strings.Contains(got, "HTTPS only") != told {
			t.Errorf("%q: answered with %q", sends, got)
		}
	}
	for first, want := range map[string]bool{"GET /": true, "PUT /": true, "A / H": true, "ZZZZZ": true, "@GET ": false, "GET[ ": false, "get /": false, "\x16\x03\x01\x00\x05": false} {
		if got := looksLikeHTTP([5]byte([]byte(first))); got != want {
			t.Errorf("%q looks like HTTP: %v", first, got)
		}
	}
}
