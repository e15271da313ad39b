package edge

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// echoHead is a server that answers with what it was told: the values of a field, and of the same
// field in trailers.
func echoHead(t *testing.T, name string) *fakePicker {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%q %q", r.Header.Values(name), r.Trailer.Values(name))
	})))
	return p
}

func TestTLSPolicyHolds(t *testing.T) { eachPicker(t, testTLSPolicyHolds) }

func testTLSPolicyHolds(t *testing.T) {
	for _, c := range []struct {
		policy  routing.TLSPolicy
		version uint16
		suite   uint16
		ok      bool
	}{
		{routing.Intermediate, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{routing.Intermediate, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{routing.Intermediate, tls.VersionTLS11, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{routing.Intermediate, tls.VersionTLS13, 0, true},
		{routing.Modern, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
		{routing.Modern, tls.VersionTLS13, 0, true},
	} {
		r := runSecure(t, newFakePicker(), func(cfg *Config) { cfg.Listeners[0].TLSPolicy = c.policy })
		conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: c.version, CipherSuites: []uint16{c.suite}})
		if (err == nil) != c.ok {
			t.Errorf("%v, %s with %s: %v", c.policy, tls.VersionName(c.version), tls.CipherSuiteName(c.suite), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// A server learns from the edge alone whose certificate a client has shown.
func TestClientCertificates(t *testing.T) { eachPicker(t, testClientCertificates) }

func testClientCertificates(t *testing.T) {
	own, authority := identity(t, "alice.example")
	other, _ := identity(t, "alice.example")
	for _, optional := range []bool{false, true} {
		r := runSecure(t, echoHead(t, routing.HeaderSubject), func(c *Config) {
			c.Listeners[0].ClientCerts = routing.ClientCerts{Authorities: authority, Optional: optional}
		})
		ask := func(two bool, certs ...tls.Certificate) (string, error) {
			cfg := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(certs) == 0 {
					return new(tls.Certificate), nil
				}
				return &certs[0], nil
			}
			transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: two, DisableKeepAlives: true}
			defer transport.CloseIdleConnections()
			req, _ := http.NewRequest("POST", "https://"+r.address+"/", io.MultiReader(strings.NewReader("body")))
			for _, forged := range []string{"Evenkeel-Client-Subject", "evenkeel_client_subject", "Evenkeel.Client.Subject", "evenkeel~client+subject"} {
				req.Header[forged] = []string{"CN=forged"}
			}
			req.Trailer = http.Header{"Evenkeel-Client-Subject": {"CN=forged"}}
			res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
			if err != nil {
				return "", err
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			return string(body), err
		}
		for _, two := range []bool{false, true} {
			if body, err := ask(two, own); err != nil || body != `["CN=alice.example"] []` {
				t.Errorf("optional %v, HTTP/2 %v: got %s, %v", optional, two, body, err)
			}
			if body, err := ask(two, other); err == nil {
				t.Errorf("optional %v, HTTP/2 %v: another's certificate was taken: %s", optional, two, body)
			}
			body, err := ask(two)
			if optional && (err != nil || body != `[] []`) || !optional && err == nil {
				t.Errorf("optional %v, HTTP/2 %v, without a certificate: got %s, %v", optional, two, body, err)
			}
		}
	}
}

// A subject that is too long for its field is not cut: two that begin alike would be one.
func TestClientsWithLongSubjectsAreRefused(t *testing.T) { eachPicker(t, testLongSubjects) }

func testLongSubjects(t *testing.T) {
	for size, good := range map[int]bool{1000: true, 1100: false} {
		own, authority := identity(t, strings.Repeat("x", size))
		r := runSecure(t, echoHead(t, routing.HeaderSubject), func(c *Config) {
			c.Listeners[0].ClientCerts = routing.ClientCerts{Authorities: authority, Optional: true}
		})
		r.client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{own}
		res, err := r.client.Get("https://" + r.address + "/")
		if (err == nil) != good {
			t.Errorf("a subject of %d bytes: %v", size, err)
		}
		if err == nil {
			_ = res.Body.Close()
		}
	}
}

// Who has been let in by one name does not get at what is routed by another.
func TestMisdirectedRequests(t *testing.T) { eachPicker(t, testMisdirectedRequests) }

func testMisdirectedRequests(t *testing.T) {
	p := echoHead(t, "X")
	r := runSecure(t, p, func(c *Config) {
		c.Listeners[0].Routes = []routing.Route{{Host: "a.example", Pool: "web"}, {Host: "b.example", Pool: "other"}, {Host: "*.c.example", Pool: "web"}}
	})
	for _, c := range []struct {
		name, host string
		want       int
	}{
		{"a.example", "a.example", 200}, {"A.example", "a.EXAMPLE:443", 200}, {"a.example", "b.example", 421}, {"b.example", "a.example", 421},
		{"x.c.example", "y.c.example", 200}, {"", "b.example", 200}, {"unknown.example", "a.example", 421}, {"a.example", "unknown.example", 404},
	} {
		for _, two := range []bool{false, true} {
			transport := &http.Transport{ForceAttemptHTTP2: two, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: c.name}}
			if c.name == "" {
				transport.TLSClientConfig.ServerName = "127.0.0.1" // of which SNI says nothing
			}
			req, _ := http.NewRequest("GET", "https://"+r.address+"/", nil)
			req.Host = c.host
			res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
			if err != nil {
				t.Errorf("%+v: %v", c, err)
				continue
			}
			if _ = res.Body.Close(); res.StatusCode != c.want {
				t.Errorf("HTTP/2 %v, %+v: got %d", two, c, res.StatusCode)
			}
			transport.CloseIdleConnections()
		}
	}
}

// Who may not connect is turned away before TLS, by the address that counts.
func TestAllowAndDenyByAddress(t *testing.T) { eachPicker(t, testAllowAndDenyByAddress) }

func testAllowAndDenyByAddress(t *testing.T) {
	loopback, elsewhere := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		allow, deny []netip.Prefix
		told        string // by a PROXY header; empty: none
		ok          bool
	}{
		{loopback, nil, "", true}, {elsewhere, nil, "", false}, {nil, loopback, "", false}, {nil, elsewhere, "", true},
		{elsewhere, nil, "192.0.2.7", true}, {loopback, nil, "192.0.2.7", false}, {nil, elsewhere, "192.0.2.7", false}, {nil, loopback, "192.0.2.7", true},
	} {
		for _, mode := range []routing.Mode{routing.ModeHTTP, routing.ModeTCP} {
			for _, secure := range []bool{false, true} {
				if secure && mode == routing.ModeTCP {
					continue
				}
				change := func(cfg *Config) {
					l := &cfg.Listeners[0]
					l.Mode, l.Allow, l.Deny = mode, c.allow, c.deny
					if c.told != "" {
						l.ProxyTrusted = loopback
					}
				}
				p := echoHead(t, "X")
				r := (*running)(nil)
				if secure {
					r = runSecure(t, p, change)
				} else {
					r = run(t, p, change)
				}
				conn, err := net.Dial("tcp", r.address)
				if err != nil { // it may be turned away before we look
					if c.ok {
						t.Errorf("%v, TLS %v, %+v: %v", mode, secure, c, err)
					}
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if c.told != "" {
					head := preface.Proxy{Source: netip.MustParseAddrPort(c.told + ":1"), Destination: netip.MustParseAddrPort("192.0.2.1:2")}
					_, _ = conn.Write(head.AppendV1(nil))
				}
				spoken := net.Conn(conn)
				if secure {
					spoken = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				_, _ = io.WriteString(spoken, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				res, err := http.ReadResponse(bufio.NewReader(spoken), nil)
				if (err == nil && res.StatusCode == 200) != c.ok {
					t.Errorf("%v, TLS %v, %+v: got %v, %v", mode, secure, c, res, err)
				}
				_ = conn.Close()
			}
		}
	}
}

// Sessions go on where the keys are shared, and not where clients had to prove something else.
func TestTicketsAreShared(t *testing.T) { eachPicker(t, testTicketsAreShared) }

func testTicketsAreShared(t *testing.T) {
	cert, pool := identity(t, "localhost")
	begin := func(tickets *routing.Tickets, binding byte) *running {
		return run(t, echoHead(t, "X"), func(c *Config) {
			l := &c.Listeners[0]
			l.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
			l.Tickets, l.ClientCerts.Binding = tickets, [32]byte{binding}
		})
	}
	keys := [][32]byte{{1}, {2}}
	one, other, late, foreign := routing.NewTickets(), routing.NewTickets(), routing.NewTickets(), routing.NewTickets()
	one.SetKeys(keys)
	other.SetKeys([][32]byte{{3}, {1}})
	late.SetKeys([][32]byte{{4}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		resumes := func(r *running) bool {
			conn, err := tls.Dial("tcp", r.address, cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
			return conn.ConnectionState().DidResume
		}
		for i, c := range []struct {
			at   *running
			want bool
		}{
			{begin(one, 0), false}, {begin(one, 0), true}, {begin(other, 0), true}, {begin(late, 0), false}, {begin(foreign, 0), false}, {begin(foreign, 0), true}, {begin(foreign, 1), false},
		} {
			if got := resumes(c.at); got != c.want {
				t.Errorf("%s, connection %d: resumed %v, want %v", tls.VersionName(version), i, got, c.want)
			}
		}
	}
}
