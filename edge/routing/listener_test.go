package routing

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// bound prepares a listener.
func bound(t *testing.T, l Listener) *BoundListener {
	t.Helper()
	b, err := Bind(l, func(name string) int { return len(name) })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }

// What Bind makes of each field, and of its absence.
func TestBoundListeners(t *testing.T) {
	plain := bound(t, Listener{Routes: []Route{{Pool: "web"}}})
	client := netip.MustParseAddr("192.0.2.1")
	if plain.TLS != nil || plain.Limiter != nil || plain.KeepsRequests || plain.RoutesByName || plain.looksAtPaths || plain.NeedsHandshake() || plain.LimitConn(client) != nil || plain.BoundRoutes[0].PoolNumber != 3 {
		t.Errorf("a listener that asks for nothing is bound as %+v", plain)
	}
	plain.ReleaseConn(client)
	if plain.HeaderLimit <= 0 || plain.HeaderCount <= 0 || plain.HeaderTimeout <= 0 || plain.IdleTimeout <= 0 {
		t.Errorf("its limits are %d bytes, %d lines, %v and %v, want a default for each", plain.HeaderLimit, plain.HeaderCount, plain.HeaderTimeout, plain.IdleTimeout)
	}
	if m := plain.HeadLimits; m.Head != plain.HeaderLimit || m.Fields != plain.HeaderCount || m.Line < plain.HeaderLimit/4 {
		t.Errorf("a listener with %d bytes and %d lines parses by %+v", plain.HeaderLimit, plain.HeaderCount, m)
	}
	if tcp := bound(t, Listener{Mode: ModeTCP, Routes: []Route{{Pool: "p"}}}); tcp.IdleTimeout <= plain.IdleTimeout {
		t.Errorf("a tunnel may be quiet for %v, want longer than a request's %v", tcp.IdleTimeout, plain.IdleTimeout)
	}
	own := bound(t, Listener{HeaderLimit: 64 << 10, HeaderCount: 7, HeaderTimeout: 3 * time.Second, IdleTimeout: 2 * time.Second, Routes: []Route{{Pool: "p"}}})
	if own.HeaderLimit != 64<<10 || own.HeaderCount != 7 || own.HeaderTimeout != 3*time.Second || own.IdleTimeout != 2*time.Second || own.SilentTime() != 2*time.Second || own.HeadLimits.Head != 64<<10 || own.HeadLimits.Fields != 7 {
		t.Errorf("what is written is bound as %+v", own.Listener)
	}
	if l := bound(t, Listener{Routes: []Route{{Pool: "p"}, {Pool: "q", Host: "a.example", RespondAsync: true}}}); !l.KeepsRequests || !l.RoutesByName {
		t.Errorf("routes that keep requests %v, by name %v, want both", l.KeepsRequests, l.RoutesByName)
	}
	for _, l := range []Listener{{Certificate: noCertificate}, {ProxyTrusted: prefixes(t, "10.0.0.0/8")}, {H2C: true}} {
		l.Routes = []Route{{Pool: "p"}}
		if !bound(t, l).NeedsHandshake() {
			t.Errorf("nothing comes before the first request of %+v", l)
		}
	}
	for _, r := range []Route{{Key: "headr:x"}, {Tenant: "headr:x"}, {Tenant: "cert:x"}, {Facts: Facts{Size: "big"}}, {Facts: Facts{Labels: map[string]string{"l": ""}}}} {
		if l, err := Bind(Listener{Routes: []Route{r}}, func(string) int { return 0 }); err == nil || l != nil {
			t.Errorf("%+v is bound as %v, %v, want an error", r, l, err)
		}
	}
}

func TestBoundRoutes(t *testing.T) {
	for _, c := range []struct {
		route          Route
		grpc           bool
		buffers, reads bool
	}{
		{Route{}, false, true, false},
		{Route{BufferRequest: -1}, false, false, false},
		{Route{Link: 1}, false, false, false},
		{Route{ServerProtocol: HTTP2}, false, false, false},
		{Route{ServerProtocol: HTTP2}, true, true, false},
		{Route{ServerProtocol: HTTP2, BufferRequest: -1}, true, false, false},
		{Route{Key: "json:/a"}, false, true, true},
		{Route{Tenant: "json:/a"}, false, true, true},
		{Route{Facts: Facts{Size: "json:/a"}}, false, true, true},
		{Route{Facts: Facts{Size: "json:/a", Class: "big"}}, false, true, true},
		{Route{Facts: Facts{Size: "3", Class: "json:/a"}}, false, true, true},
		{Route{Facts: Facts{Size: "3"}, Key: "client", Tenant: "path"}, false, true, false},
	} {
		r := bound(t, Listener{Routes: []Route{c.route}}).BoundRoutes[0]
		if r.Buffers(c.grpc) != c.buffers || r.ReadsBody() != c.reads {
			t.Errorf("%+v, gRPC %v: bodies are read first %v, and sources read them %v, want %v and %v", c.route, c.grpc, r.Buffers(c.grpc), r.ReadsBody(), c.buffers, c.reads)
		}
	}
	r := bound(t, Listener{Routes: []Route{{}}}).BoundRoutes[0]
	if r.Timeout <= 0 || r.BufferRequest <= 0 || r.BodyRate <= 0 {
		t.Errorf("a route that says nothing waits %v, reads %d bytes first and wants %d a second, want a default for each", r.Timeout, r.BufferRequest, r.BodyRate)
	}
	r = bound(t, Listener{Routes: []Route{{Timeout: time.Second, BufferRequest: -1, BodyRate: -1}}}).BoundRoutes[0]
	if r.Timeout != time.Second || r.BufferRequest != 0 || r.BodyRate != 0 {
		t.Errorf("bound to %v, %d and %d, want what is written, and nothing for less", r.Timeout, r.BufferRequest, r.BodyRate)
	}
}

func TestTenantRules(t *testing.T) {
	verifier := new(tenants.Verifier)
	proxies := prefixes(t, "10.0.0.0/8")
	for _, c := range []struct {
		route   Route
		proxies bool
		want    tenants.Rule
		reads   bool // from the request
	}{
		{Route{}, true, tenants.Rule{From: tenants.Any}, false},
		{Route{Tenant: "header:X_Team"}, false, tenants.Rule{Source: tenants.Plain, Header: "x-team", From: tenants.Any}, true},
		{Route{Tenant: "header:X-Team"}, true, tenants.Rule{Source: tenants.Plain, Header: "x-team", From: tenants.Trusted}, true},
		{Route{Tenant: "header:X-Team", TenantFrom: tenants.Any}, true, tenants.Rule{Source: tenants.Plain, Header: "x-team", From: tenants.Any}, true},
		{Route{Tenant: "cookie:t"}, true, tenants.Rule{Source: tenants.Plain, From: tenants.Any}, true},
		{Route{Tenant: "cert:san"}, true, tenants.Rule{Source: tenants.AltName, From: tenants.Any}, false},
		{Route{Tenant: "jwt:sub", TenantTokens: verifier}, true, tenants.Rule{Source: tenants.Token, Tokens: verifier, From: tenants.Any}, false},
	} {
		l := Listener{Routes: []Route{c.route}}
		if c.proxies {
			l.TrustedProxies = proxies
		}
		r := bound(t, l).BoundRoutes[0]
		if r.TenantRule != c.want || (r.TenantSource != nil) != c.reads {
			t.Errorf("%q, trusted proxies %v: rule %+v, read from the request %v, want %+v and %v", c.route.Tenant, c.proxies, r.TenantRule, r.TenantSource != nil, c.want, c.reads)
		}
		drops := c.want.Source == tenants.Plain && c.want.From == tenants.Trusted
		if got := r.RequestDrops("GET", false, DropNoTrace).Has([]byte("x-team")); got != drops {
			t.Errorf("%q, trusted proxies %v: the header of others is dropped %v, want %v", c.route.Tenant, c.proxies, got, drops)
		}
		if got := r.RequestDrops("GET", true, DropNoTrace).Has([]byte("x-team")); got {
			t.Errorf("%q: the header of trusted proxies is dropped", c.route.Tenant)
		}
	}
}

// What the client says of a trace goes on, or only its state, or nothing, for every client.
func TestTraceDrops(t *testing.T) {
	r := bound(t, Listener{Routes: []Route{{}}}).BoundRoutes[0]
	for _, method := range []string{"GET", "OPTIONS"} {
		for _, trusted := range []bool{false, true} {
			for drops, want := range map[TraceDrops][2]bool{DropNoTrace: {false, false}, DropTraceParent: {true, false}, DropTrace: {true, true}} {
				names := r.RequestDrops(method, trusted, drops)
				if parent, state := names.Has([]byte("traceparent")), names.Has([]byte("TraceState")); parent != want[0] || state != want[1] || !names.Has([]byte("via")) {
					t.Errorf("%s, trusted %t, %d: traceparent %t, tracestate %t, want %v", method, trusted, drops, parent, state, want)
				}
			}
		}
	}
}

// Which fields servers are not sent depends on who sends them, and on the method.
func TestRequestDrops(t *testing.T) {
	r := bound(t, Listener{Routes: []Route{{}}}).BoundRoutes[0]
	for _, c := range []struct {
		method  string
		trusted bool
		dropped string
		kept    string
	}{
		{"GET", false, "evenkeel-lease evenkeel_lease x-real-ip forwarded x-forwarded-proto x-forwarded-port via x-request-id", "max-forwards accept"},
		{"GET", true, "evenkeel-lease forwarded x-forwarded-proto via x-request-id", "x-real-ip x-forwarded-port max-forwards"},
		{"OPTIONS", false, "evenkeel-lease x-real-ip via max-forwards", "accept"},
		{"TRACE", false, "evenkeel-lease x-real-ip via max-forwards", "accept"},
		{"TRACE", true, "evenkeel-lease via max-forwards", "accept x-real-ip"},
	} {
		drops := r.RequestDrops(c.method, c.trusted, DropNoTrace)
		for name := range strings.FieldsSeq(c.dropped) {
			if !drops.Has([]byte(name)) {
				t.Errorf("%s, trusted %v: servers are sent %s", c.method, c.trusted, name)
			}
		}
		for name := range strings.FieldsSeq(c.kept) {
			if drops.Has([]byte(name)) {
				t.Errorf("%s, trusted %v: servers are not sent %s", c.method, c.trusted, name)
			}
		}
	}
}

// listenerProblems returns the fields with which something is wrong.
func listenerProblems(l Listener) string {
	var fields []string
	l.Validate(func(field, problem string) {
		if problem == "" {
			field += " without a problem"
		}
		fields = append(fields, field)
	})
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

func TestBadListeners(t *testing.T) {
	one := []Route{{Pool: "p"}}
	wide := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:0.0.0.0/95")}
	for _, c := range []struct {
		l    Listener
		want string
	}{
		{Listener{Listen: ":80", Routes: one}, ""},
		{Listener{Listen: ":80", Mode: ModeTCP, Routes: one}, ""},
		{Listener{Listen: ":80", H2C: true, Paths: PathsStrict, HalfClosed: HalfClosedRefuse, Routes: one}, ""},
		{Listener{Listen: ":80", Certificate: noCertificate, Routes: one}, ""},
		{Listener{Listen: "80", Routes: one}, "listen"},
		{Listener{Listen: ":80", H2C: true, Certificate: noCertificate, Routes: one}, "h2c"},
		{Listener{Listen: ":80", H2C: true, Mode: ModeTCP, Routes: one}, "h2c"},
		{Listener{Listen: ":80", Paths: PathsStrict, Mode: ModeTCP, Routes: one}, "paths"},
		{Listener{Listen: ":80", Certificate: noCertificate, Mode: ModeTCP, Routes: one}, "tls"},
		{Listener{Listen: ":80", HeaderLimit: -1, HeaderCount: -1, HeaderTimeout: -1, IdleTimeout: -1, BodyLimit: -1, Routes: one}, "body_limit header_count header_limit header_timeout idle_timeout"},
		{Listener{Listen: ":80", Allow: wide, Deny: make([]netip.Prefix, 1), Routes: one}, "allow[1] deny[0]"},
		{Listener{Listen: ":80", ClientLimits: ClientLimits{Connections: -1}, Routes: one}, "client_limits.connections"},
		{Listener{Listen: ":80", HalfClosed: HalfClosedRefuse + 1, Routes: one}, "half_closed"},
		{Listener{Listen: ":80", Mode: ModeTCP + 1, Routes: one}, "mode"},
		{Listener{Listen: ":80"}, "routes"},
		{Listener{Listen: ":80", Routes: []Route{{}}}, "routes[0].pool"},
		{Listener{Listen: ":80", Routes: []Route{{Pool: "p"}, {Pool: "q", Tenant: "cert:x"}}}, "routes[1] routes[1].tenant"},
		{Listener{Listen: ":80", Routes: []Route{{Pool: "p", Host: "A.example", Path: "/v1/"}, {Pool: "p", Path: "/v1"}, {Pool: "q", Host: "a.example", Path: "/v1"}}}, "routes[2]"},
		{Listener{Listen: ":80", Routes: []Route{{Pool: "p", SendProxy: 1}}}, "routes[0].send_proxy"},
		{Listener{Listen: ":80", Routes: []Route{{Pool: "p", Facts: Facts{From: tenants.Trusted}}}}, "routes[0].facts_from"},
		{Listener{Listen: ":80", TrustedProxies: wide[:1], Routes: []Route{{Pool: "p", Facts: Facts{From: tenants.Trusted}}}}, ""},
	} {
		if got := listenerProblems(c.l); got != c.want {
			t.Errorf("%+v: problems with %q, want %q", c.l, got, c.want)
		}
	}
}

// A listener that reads no requests refuses what is about them, field by field.
func TestRoutesOfTCPListeners(t *testing.T) {
	for _, c := range []struct {
		route Route
		want  string
	}{
		{Route{}, ""}, {Route{Key: "client", Tenant: "client", SendProxy: 2, BufferRequest: -1, BodyRate: -1, Facts: Facts{Class: "db"}}, ""}, {Route{SendProxy: 1}, ""},
		{Route{Paths: PathsStrict}, "paths"}, {Route{Path: "/v1"}, "path"}, {Route{ServerProtocol: HTTP2}, "server_protocol"}, {Route{Link: 1}, "link"},
		{Route{LeaseParam: "l"}, "lease_param"}, {Route{Upgrade: []string{}}, "upgrade"}, {Route{Key: "path"}, "key"}, {Route{Tenant: "path"}, "tenant"},
		{Route{ServerTLS: new(tls.Config)}, "server_tls"}, {Route{RespondAsync: true}, "respond_async"}, {Route{WhileWaiting: WhileWaitingInterim}, "while_waiting"},
		{Route{BufferRequest: 1}, "buffer_request"}, {Route{BodyRate: 1}, "body_rate"}, {Route{SendProxy: 3}, "send_proxy"}, {Route{SendProxy: -1}, "send_proxy"},
		{Route{Facts: Facts{Size: "header:x"}}, "size"}, {Route{Facts: Facts{Size: "none"}}, "size"},
	} {
		c.route.Pool = "p"
		want := c.want
		if want != "" {
			want = "routes[0]." + want
		}
		if got := listenerProblems(Listener{Listen: ":80", Mode: ModeTCP, Routes: []Route{c.route}}); got != want {
			t.Errorf("%+v: problems with %q, want %q", c.route, got, want)
		}
	}
}

// Whether a client is answered that has closed its side, by what the listener says and whether another request may follow.
func TestWhoIsAnsweredWithAClosedSide(t *testing.T) {
	for h, want := range map[HalfClosed][2]bool{HalfClosedLast: {true, false}, HalfClosedAnswer: {true, true}, HalfClosedRefuse: {false, false}} {
		if got := [2]bool{h.Answers(false), h.Answers(true)}; got != want {
			t.Errorf("%v: behind the last request %v, before another %v, want %v", h, got[0], got[1], want)
		}
	}
}

func TestSchemesThatRequestsMayName(t *testing.T) {
	peer, proxy := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		l    Listener
		peer netip.Addr
		want h2.Schemes
	}{
		{Listener{}, peer, h2.HTTP},
		{Listener{TrustedProxies: prefixes(t, "10.0.0.0/8")}, peer, h2.HTTP},
		{Listener{TrustedProxies: prefixes(t, "10.0.0.0/8")}, proxy, h2.HTTP | h2.HTTPS},
		{Listener{ProxyTrusted: prefixes(t, "10.0.0.0/8")}, peer, h2.HTTP | h2.HTTPS},
		{Listener{Certificate: noCertificate, TrustedProxies: prefixes(t, "10.0.0.0/8")}, proxy, h2.HTTPS},
	} {
		l := bound(t, c.l)
		if got := l.Schemes(c.peer); got != c.want {
			t.Errorf("%+v from %v: schemes %v, want %v", c.l, c.peer, got, c.want)
		}
		for _, scheme := range []string{"http", "HTTPS", "ftp"} {
			if got, want := l.TakesURL([]byte(scheme+"://a/b"), c.peer), c.want.Take(strings.ToLower(scheme)); got != want {
				t.Errorf("%+v from %v: a URL of %s is taken %v, want %v", c.l, c.peer, scheme, got, want)
			}
		}
	}
}

// hello is the beginning of a TLS connection to a name.
func hello(name string) []byte {
	list := slices.Concat([]byte{0, byte(len(name) >> 8), byte(len(name))}, []byte(name))
	extension := slices.Concat([]byte{0, 0, 0, byte(len(list) + 2), 0, byte(len(list))}, list)
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0, 0, 2, 0x13, 1, 1, 0, 0, byte(len(extension))}, extension)
	message := slices.Concat([]byte{1, 0, 0, byte(len(body))}, body)
	return slices.Concat([]byte{22, 3, 1, 0, byte(len(message))}, message)
}

func TestServerNames(t *testing.T) {
	whole := hello("a.example")
	l := &BoundListener{Listener: Listener{HeaderLimit: len(whole)}}
	for n := range whole {
		if name, known, err := l.ServerName(whole[:n]); name != "" || known || err != nil {
			t.Errorf("of %d bytes of %d: %q, %v, %v, want that more is to come", n, len(whole), name, known, err)
		}
	}
	if name, known, err := l.ServerName(whole); name != "a.example" || !known || err != nil {
		t.Errorf("a whole one of as many bytes as may be: %q, %v, %v", name, known, err)
	}
	l.HeaderLimit = len(whole) - 1
	if _, known, err := l.ServerName(whole[:len(whole)-1]); known || err != errLongHello {
		t.Errorf("a part of as many bytes as may be: known %v, %v, want that it is too long", known, err)
	}
	if name, known, err := l.ServerName([]byte("GET / HTTP/1.1\r\n")); name != "" || !known || err != nil {
		t.Errorf("without TLS: %q, %v, %v, want that there is none", name, known, err)
	}
	broken := slices.Clone(whole)
	broken[5+4+2+32] = 0xff // the session is longer than all
	if name, known, err := l.ServerName(broken); name != "" || known || err != preface.ErrHello {
		t.Errorf("a malformed one: %q, %v, %v", name, known, err)
	}
}

func TestProxyHeadersOfStrangers(t *testing.T) {
	l := bound(t, Listener{ProxyTrusted: prefixes(t, "10.0.0.0/8"), Routes: []Route{{}}})
	header := []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
	if told, more, err := l.ParseProxyHeader(netip.MustParseAddr("10.0.0.1"), header); err != nil || more != 0 || told.Source.String() != "192.0.2.1:1" {
		t.Errorf("of a trusted peer: %+v, %d to come, %v", told, more, err)
	}
	for _, peer := range []netip.Addr{netip.MustParseAddr("11.0.0.1"), {}} {
		if told, _, err := l.ParseProxyHeader(peer, header); !errors.Is(err, errForeign) || told.Source.IsValid() || !strings.Contains(fmt.Sprint(err), Node(peer)) {
			t.Errorf("of %v: %+v, %v, want that it may not connect", peer, told, err)
		}
	}
	if Node(netip.Addr{}) != unknown || string(AppendNode([]byte("by "), netip.Addr{})) != "by unknown" || string(AppendNode(nil, netip.MustParseAddr("::1"))) != "::1" || Node(netip.MustParseAddr("::1")) != "::1" {
		t.Error("peers are not named by their address, or as unknown")
	}
}
