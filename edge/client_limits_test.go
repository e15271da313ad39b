package edge

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/preface"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var loopbackPrefix = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A client has so many connections open at once and no more. One that is closed makes room, and other
// clients are served.
func TestConnectionsOfAClientAreLimited(t *testing.T) {
	eachPicker(t, testConnectionsOfAClientAreLimited)
}

func testConnectionsOfAClientAreLimited(t *testing.T) {
	for _, c := range []struct {
		name          string
		mode          routing.Mode
		secure, proxy bool
	}{{name: "plain"}, {name: "TLS", secure: true}, {name: "PROXY", proxy: true}, {name: "TCP", mode: routing.ModeTCP}, {name: "TCP behind PROXY", mode: routing.ModeTCP, proxy: true}} {
		t.Run(c.name, func(t *testing.T) {
			p := echoHead(t, "X")
			start := run
			if c.secure {
				start = runSecure
			}
			r := start(t, p, func(cfg *Config) {
				l := &cfg.Listeners[0]
				l.Mode, l.ClientLimits.Connections = c.mode, 2
				if c.proxy {
					l.ProxyTrusted = loopbackPrefix
				}
			})
			var all []net.Conn
			// dial returns a connection of a client on which one request was answered; nil: it was refused.
			dial := func(client string) net.Conn {
				from := &net.TCPAddr{IP: net.ParseIP("127.0.0.1")}
				if !c.proxy {
					from.IP = net.ParseIP(client)
				}
				conn, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", r.address)
				if err != nil {
					return nil // it may be turned away before we look
				}
				all = append(all, conn)
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if c.proxy {
					head := preface.Proxy{Source: netip.AddrPortFrom(netip.MustParseAddr(client), 1), Destination: netip.MustParseAddrPort("192.0.2.1:2")}
					_, _ = conn.Write(head.AppendV1(nil))
				}
				if c.secure {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: "+client+"\r\n\r\n")
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					return nil
				}
				if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(body), client) {
					t.Errorf("got %d %q", res.StatusCode, body)
				}
				return conn
			}
			one := dial("127.0.0.1")
			if one == nil || dial("127.0.0.1") == nil {
				t.Fatal("the first two are refused")
			}
			limited := r.deps.Metrics.Limited[exchange.LimitConnections]
			if dial("127.0.0.1") != nil || testutil.ToFloat64(limited) != 1 {
				t.Errorf("a third is taken, or not counted: %v", testutil.ToFloat64(limited))
			}
			if dial("127.0.0.2") == nil {
				t.Error("another client is refused")
			}
			_ = one.Close()
			eventually(t, "there is room for one after another has gone", func() bool { return dial("127.0.0.1") != nil })
			if dial("127.0.0.1") != nil {
				t.Error("one that has gone makes room for two")
			}
			for _, conn := range all {
				_ = conn.Close()
			}
			eventually(t, "those that were refused have given back their places, too", func() bool { return r.Edge.cfg.Places.Taken() == 0 })
		})
	}
}

// limitedRequests has a server that answers when release is closed, but /now at once.
func limitedRequests(t *testing.T, secure bool, c routing.ClientLimits, change func(*routing.Listener)) (r *running, arrived, release chan struct{}) {
	arrived, release = make(chan struct{}, 100), make(chan struct{})
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/now" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})))
	start := run
	if secure {
		start = runSecure
	}
	r = start(t, p, func(cfg *Config) {
		cfg.Listeners[0].ClientLimits = c
		if change != nil {
			change(&cfg.Listeners[0])
		}
	})
	if secure {
		r.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	}
	return r, arrived, release
}

// get asks, and holds what comes against what should: the request's own answer, or 429 for this reason.
func (r *running) get(secure bool, path, reason string, headers ...string) {
	r.t.Helper()
	scheme := "http"
	if secure {
		scheme = "https"
	}
	req, err := http.NewRequest("GET", scheme+"://"+r.address+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	var told exchange.Problem
	_ = json.Unmarshal(body, &told)
	switch {
	case secure != (res.ProtoMajor == 2):
		r.t.Errorf("%s: spoke %s", path, res.Proto)
	case reason == "" && (res.StatusCode != 200 || string(body) != path):
		r.t.Errorf("%s: got %d %s", path, res.StatusCode, body)
	case reason != "" && (res.StatusCode != 429 || told.Reason != reason || res.Header.Get("Retry-After") == "" || res.Header.Get("Content-Type") != exchange.ProblemType):
		r.t.Errorf("%s: got %d %v %s, want 429 %s", path, res.StatusCode, res.Header, body, reason)
	}
}

func TestOpenRequestsOfAClientAreLimited(t *testing.T) {
	eachPicker(t, testOpenRequestsOfAClientAreLimited)
}

func testOpenRequestsOfAClientAreLimited(t *testing.T) {
	for _, secure := range []bool{false, true} { // HTTP/1.1 and HTTP/2
		r, arrived, release := limitedRequests(t, secure, routing.ClientLimits{OpenRequests: 2, Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			func(l *routing.Listener) { l.TrustedProxies = loopbackPrefix })
		done := make(chan struct{}, 2)
		for _, path := range []string{"/a", "/b"} {
			go func() { r.get(secure, path, ""); done <- struct{}{} }()
			<-arrived
		}
		for range 3 {
			r.get(secure, "/now", exchange.ReasonManyOpen)
		}
		r.get(secure, "/now", "", "X-Forwarded-For", "198.51.100.1") // another client
		r.get(secure, "/now", "", "X-Forwarded-For", "192.0.2.1")    // exempt
		close(release)
		<-done
		<-done
		// The answer is there a moment before its exchange is closed.
		eventually(t, "no request is open", func() bool { return r.Edge.Open() == 0 })
		r.get(secure, "/now", "")
		if n := testutil.ToFloat64(r.deps.Metrics.Limited[exchange.LimitOpenRequests]); n != 3 {
			t.Errorf("HTTP/2 %v: %v are counted, want 3", secure, n)
		}
		eventually(t, "no client is remembered when nothing is open", func() bool { return r.listeners[0].Limiter.Requests.Known() == 0 })
	}
}

func TestRequestsASecondOfAClientAreLimited(t *testing.T) {
	eachPicker(t, testRequestsASecondOfAClientAreLimited)
}

func testRequestsASecondOfAClientAreLimited(t *testing.T) {
	for _, secure := range []bool{false, true} {
		few := routing.ClientLimits{RequestsPerSecond: .001, Burst: 2} // of which none comes back while the test runs
		// Whom X-Forwarded-For names counts only if a trusted proxy says it.
		r, _, _ := limitedRequests(t, secure, few, nil)
		r.get(secure, "/now", "", "X-Forwarded-For", "198.51.100.1")
		r.get(secure, "/now", "", "X-Forwarded-For", "198.51.100.2")
		r.get(secure, "/now", exchange.ReasonTooFast, "X-Forwarded-For", "198.51.100.3")
		r, _, _ = limitedRequests(t, secure, few, func(l *routing.Listener) { l.TrustedProxies = loopbackPrefix })
		for range 2 {
			r.get(secure, "/now", "", "X-Forwarded-For", "198.51.100.1")
			r.get(secure, "/now", "", "X-Forwarded-For", "2001:db8:1:100::1")
		}
		r.get(secure, "/now", exchange.ReasonTooFast, "X-Forwarded-For", "198.51.100.1")
		r.get(secure, "/now", exchange.ReasonTooFast, "X-Forwarded-For", "2001:db8:1:1ff::2") // of the same /56
		r.get(secure, "/now", "", "X-Forwarded-For", "2001:db8:1:200::1")
		// By a field, and by the address where there is none.
		few.By = "header:X_API-Key"
		r, _, _ = limitedRequests(t, secure, few, nil)
		for _, key := range []string{"", "a", "b"} {
			r.get(secure, "/now", "", "X-Api-Key", key)
			r.get(secure, "/now", "", "X-Api-Key", key)
			r.get(secure, "/now", exchange.ReasonTooFast, "X-Api-Key", key)
		}
		if n := testutil.ToFloat64(r.deps.Metrics.Limited[exchange.LimitRequestRate]); n != 3 {
			t.Errorf("HTTP/2 %v: %v are counted, want 3", secure, n)
		}
	}
}

func TestClientsOfGRPCAreToldOfTheirLimits(t *testing.T) {
	r, _, release := limitedRequests(t, false, routing.ClientLimits{RequestsPerSecond: .001, Burst: 1}, func(l *routing.Listener) { l.H2C = true })
	close(release)
	c := r.talker()
	head := []string{"content-type application/grpc", "te trailers"}
	first := c.open(true, head...)
	if fields, _ := c.fields(first); fields[":status"] != "200" || fields["grpc-status"] != "" {
		t.Errorf("the first: got %v", fields)
	}
	second := c.open(true, head...)
	fields, ended := c.fields(second)
	if !ended || fields[":status"] != "200" || fields["grpc-status"] != "8" || !strings.Contains(fields["grpc-message"], exchange.ReasonTooFast) || fields["grpc-retry-pushback-ms"] == "" {
		t.Errorf("the second: got %v, want RESOURCE_EXHAUSTED at once", fields)
	}
}

// A request to a server that speaks TLS counts once for its client, and so does the connection.
func TestRequestsToTLSServersCountForTheirClient(t *testing.T) {
	eachPicker(t, testRequestsToTLSServersCountForTheirClient)
}

func testRequestsToTLSServersCountForTheirClient(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	t.Cleanup(s.Close)
	p := newFakePicker()
	p.pick = among(granted("s1", s))
	r := run(t, p, func(c *Config) {
		l := &c.Listeners[0]
		l.Routes[0].ServerTLS = s.Client().Transport.(*http.Transport).TLSClientConfig
		l.ClientLimits = routing.ClientLimits{Connections: 1, OpenRequests: 1, RequestsPerSecond: .001, Burst: 2}
	})
	<-r.Accepting()
	l := r.listeners[0]
	r.get(false, "/a", "")
	r.get(false, "/b", "")
	r.get(false, "/c", exchange.ReasonTooFast)
	if n := l.Limiter.Conns.Known(); n != 1 {
		t.Errorf("%d clients have a connection, want 1", n)
	}
	r.client.CloseIdleConnections()
	eventually(t, "a closed connection does not count", func() bool { return l.Limiter.Conns.Known() == 0 })
	if n := testutil.ToFloat64(r.deps.Metrics.Limited[exchange.LimitConnections]); n != 0 {
		t.Errorf("%v connections are refused", n)
	}
}
