package exchange

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// headOf returns the state of a request of which so much has come.
func headOf(t *testing.T, text string) *ForwardState {
	t.Helper()
	w := new(ForwardState)
	w.Req.Limits = http1.Limits{Head: 64 << 10, Fields: 100}
	n, err := w.Req.Parse([]byte(text))
	if err != nil || n == 0 {
		t.Fatalf("%q: %d, %v", text, n, err)
	}
	w.SetHead([]byte(text), n)
	return w
}

func TestWhatIsKnownOfARequest(t *testing.T) {
	listener := new(routing.BoundListener)
	for _, c := range []struct {
		text    string
		http2   bool
		target  string
		path    string
		query   string
		proto   string
		upgrade bool
	}{
		{"GET /a/b?c=d HTTP/1.1\r\nHost: h\r\n\r\n", false, "/a/b?c=d", "/a/b", "c=d", "1.1", false},
		{"GET /a HTTP/1.0\r\nHost: h\r\n\r\n", false, "/a", "/a", "", "1.0", false},
		{"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", true, "/a", "/a", "", "2.0", false},
		{"GET /a%20b HTTP/1.1\r\nHost: h\r\n\r\n", false, "/a%20b", "/a b", "", "1.1", false},
		{"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", false, "/", "/", "", "1.1", false},
		{"GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", false, "/?q", "/", "q", "1.1", false},
		{"GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n", false, "/x", "/x", "", "1.1", false},
		{"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", false, "/", "/", "", "1.1", true},
		{"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 65536\r\n\r\n", false, "/", "/", "", "1.1", true},
		{"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 65537\r\n\r\n", false, "/", "/", "", "1.1", false},
		{"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n", false, "/", "/", "", "1.1", false},
		{"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", false, "/", "/", "", "1.1", false},
	} {
		w := headOf(t, c.text)
		w.IsHTTP2 = c.http2
		h := w.describe(listener, netip.MustParseAddr("192.0.2.1"))
		if c.http2 {
			c.proto = routing.HTTPVersion2
		}
		if h.Target != c.target || h.Path != c.path || h.Query != c.query || h.Proto != c.proto || h.Upgrade != c.upgrade || h.Host != "h" {
			t.Errorf("%.40q: target %q, path %q, query %q, HTTP/%s, upgrade %t, host %q; want %+v", c.text, h.Target, h.Path, h.Query, h.Proto, h.Upgrade, h.Host, c)
		}
	}
}

// When the connection to a client ends with an exchange.
func TestWhenTheConnectionEnds(t *testing.T) {
	const whole, half = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo"
	for _, c := range []struct {
		name     string
		text     string
		draining bool
		want     bool
	}{
		{"goes on", whole, false, false},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", false, true},
		{"the client says so", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false, true},
		{"the edge drains", whole, true, true},
		{"the edge drains, and another request has come", whole + "GET / HTTP/1.1\r\n", true, false},
		{"the edge drains, and the body is still to come", half, true, true},
	} {
		w := headOf(t, c.text)
		if err := w.Frame(w.Buf, new(routing.BoundListener)); err != nil {
			t.Fatal(err)
		}
		if got := w.Closing(c.draining); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		text   string
		status int
		want   bool
	}{
		{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 503, false}, {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, true}, {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 204, true},
		{whole, 503, true}, {"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501, true},
	} {
		if got := headOf(t, c.text).ClosingUnread(flight.Answer{Status: c.status}, false); got != c.want {
			t.Errorf("%.20q answered %d at once: closes %t, want %t", c.text, c.status, got, c.want)
		}
	}
}

// Which bodies are read before the request is sent, so that it can be sent again.
func TestWhichBodiesAreReadFirst(t *testing.T) {
	for _, c := range []struct {
		method, fields string
		upgrade        bool
		come           int // of the body
		want           bool
	}{
		{"PUT", "Content-Length: 10\r\n", false, 9, false},
		{"PUT", "Content-Length: 10\r\n", false, 10, true},
		{"POST", "Content-Length: 10\r\n", false, 0, true},
		{"POST", "Content-Length: 10\r\n", true, 0, false},
		{"PUT", "Content-Length: 65536\r\n", false, 0, false},
		{"PUT", "Content-Length: 65537\r\n", false, 0, true},
		{"PUT", "Content-Length: 10\r\nExpect: 100-continue\r\n", false, 0, true},
		{"PUT", "Transfer-Encoding: chunked\r\n", false, 0, true},
		{"GET", "", false, 0, true},
	} {
		w := headOf(t, c.method+" / HTTP/1.1\r\nHost: h\r\n"+c.fields+"\r\n")
		w.Exchange.Head.Method, w.Exchange.Head.Upgrade = c.method, c.upgrade
		if got := w.MayFrame(w.Head + c.come); got != c.want {
			t.Errorf("%s, %q, upgrade %t, of which %d bytes have come: may begin %t, want %t", c.method, c.fields, c.upgrade, c.come, got, c.want)
		}
	}
}

// How much of a body stands behind its head.
func TestWhatHasComeOfABody(t *testing.T) {
	for _, c := range []struct {
		body     string
		chunked  bool
		inBuf    int
		trailers int
		complete bool
		fails    bool
	}{
		{"12345", false, 5, 0, true, false},
		{"123", false, 3, 0, false, false},
		{"12345GET", false, 5, 0, true, false},
		{"5\r\n12345\r\n", true, 10, 0, false, false},
		{"5\r\n12345\r\n0\r\n\r\n", true, 15, 0, true, false},
		{"1\r\nx\r\n0\r\nA: b\r\n\r\nmore", true, 9, 8, true, false},
		{"zz\r\n", true, 0, 0, false, true},
	} {
		field := "Content-Length: 5"
		if c.chunked {
			field = "Transfer-Encoding: chunked"
		}
		w := headOf(t, "POST / HTTP/1.1\r\nHost: h\r\n"+field+"\r\n\r\n"+c.body)
		l := new(routing.BoundListener)
		l.HeadLimits = http1.Limits{Head: 1000, Fields: 10}
		err := w.Frame(w.Buf, l)
		if (err != nil) != c.fails {
			t.Errorf("%q: %v", c.body, err)
		}
		if !c.fails && (w.Complete != c.complete || w.BodyInBuf+w.TrailerLen != c.inBuf+c.trailers) {
			t.Errorf("%q: %d bytes and %d of trailers, complete %t; want %d and %d, %t", c.body, w.BodyInBuf, w.TrailerLen, w.Complete, c.inBuf, c.trailers, c.complete)
		}
	}
	w := headOf(t, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
	l := new(routing.BoundListener)
	l.BodyLimit = 4
	if err := w.Frame(w.Buf, l); err == nil {
		t.Error("a body beyond the listener's limit is taken")
	}
}

// A server can switch to a protocol that was offered, and to no other.
func TestSwitchesOfProtocol(t *testing.T) {
	for _, c := range []struct {
		offered, taken string
		ok             bool
	}{{"websocket", "websocket", true}, {"a, WebSocket", "websocket", true}, {"a,b", "c", false}, {"ab", "a", false}} {
		w := headOf(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: "+c.offered+"\r\n\r\n")
		w.In = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: " + c.taken + "\r\n\r\n")
		w.R, w.W = 0, len(w.In)
		w.AwaitResponse()
		if _, err := w.Resp.Parse(w.In, http1.Asked{Method: http1.MethodGet, Upgrade: true}); err != nil {
			t.Fatal(err)
		}
		if err := w.CheckSwitch(); (err == nil) != c.ok {
			t.Errorf("%q was offered and %q taken: %v", c.offered, c.taken, err)
		}
	}
	w := headOf(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if err := w.CheckSwitch(); err != nil {
		t.Errorf("no switch: %v", err)
	}
}

// Trailers that are passed on are announced, and no others.
func TestAnnouncedTrailers(t *testing.T) {
	for want, announced := range map[string][]string{
		"":                                   {"Evenkeel-Lease, endpoint-load-metrics", ""},
		"Trailer: Grpc-Status, Checksum\r\n": {" Grpc-Status , Evenkeel-Edge", "Checksum"},
	} {
		a := HeaderLines{[]byte("A: b\r\n")}
		if a.announceTrailers(announced); string(a.Text) != "A: b\r\n"+want {
			t.Errorf("%q: %q, want %q", announced, a.Text, want)
		}
	}
}

func TestMaxForwardsFalls(t *testing.T) {
	for told, want := range map[string]string{"5": "Max-Forwards: 4\r\n", "1": "Max-Forwards: 0\r\n", "0": "", "": "", "x": "", "-1": "", "99999999999": ""} {
		var a HeaderLines
		if a.decrementForwards(told); string(a.Text) != want {
			t.Errorf("%q: %q, want %q", told, a.Text, want)
		}
	}
}

// A trusted proxy's Forwarded stands for X-Forwarded-* where it sends none.
func TestForwardedStandsForTheOthers(t *testing.T) {
	chain, proto, host := fromForwarded([]string{"for=192.0.2.1;proto=https;host=a", "for=192.0.2.2"}, "http", "h")
	if !slices.Equal(chain, []string{"192.0.2.1", "192.0.2.2"}) || proto != "http" || host != "h" {
		t.Errorf("%q, %s, %s; want both, and what the last says or else our own", chain, proto, host)
	}
	if _, proto, host = fromForwarded([]string{"for=192.0.2.1;proto=https;host=a"}, "http", "h"); proto != "https" || host != "a" {
		t.Errorf("%s, %s; want what it says", proto, host)
	}
}

func TestServerTiming(t *testing.T) {
	x := new(Exchange)
	x.pickTime, x.waiting = 5*time.Millisecond, 3*time.Millisecond
	if got := string(x.appendTiming(nil)); got != "pick;dur=2, queue;dur=3" {
		t.Errorf("%q", got)
	}
	x.pickTime = time.Millisecond // by another clock
	if got := string(x.appendTiming(nil)); got != "pick;dur=0, queue;dur=3" {
		t.Errorf("%q", got)
	}
}

// Lists of earlier values and the next one are one list.
func TestLists(t *testing.T) {
	if got := string(appendList([]byte("x: "), []string{"a", "b"})) + "c"; got != "x: a, b, c" {
		t.Errorf("%q", got)
	}
}
