package edge

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// identity makes a certificate and those who believe it.
func identity(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, key, err := selfsigned.New(names...)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pair, pool
}

// runSecure runs an edge whose clients speak TLS; its client believes the edge.
func runSecure(t *testing.T, p *fakePicker, change func(*Config)) *running {
	t.Helper()
	cert, pool := identity(t, "localhost", "127.0.0.1")
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
		if change != nil {
			change(c)
		}
	})
	r.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	return r
}

// dialSecure connects as the running edge's client would.
func (r *running) dialSecure(change func(*tls.Config)) *tls.Conn {
	r.t.Helper()
	cfg := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName = "localhost"
	if change != nil {
		change(cfg)
	}
	conn, err := tls.Dial("tcp", r.address, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func secureRequest(r *running, method, path, body string) *http.Request {
	req := r.request(method, path, body)
	req.URL.Scheme = "https"
	return req
}

func TestSecureRequests(t *testing.T) { eachServer(t, testSecureRequests) }

func testSecureRequests(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Proto") != "https" || !strings.Contains(r.Header.Get("Forwarded"), "proto=https") {
			t.Errorf("the server was told %q, %q, want https", r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Forwarded"))
		}
		echo(w, r)
	})
	r := runSecure(t, to(granted("a", s)), nil)
	for range 3 {
		for _, c := range []struct{ method, body string }{{"GET", ""}, {"POST", "small"}, {"PUT", large}} {
			if res, body := r.do(secureRequest(r, c.method, "/p?q", c.body)); res.StatusCode != 200 || body != c.method+" /p?q "+c.body {
				t.Errorf("%s: got %d and %d bytes", c.method, res.StatusCode, len(body))
			}
		}
	}
}

// What is refused plainly is refused by TLS too.
func TestSecureIsAsStrict(t *testing.T) { eachPicker(t, testSecureIsAsStrict) }

func testSecureIsAsStrict(t *testing.T) {
	r := runSecure(t, newFakePicker(), nil)
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
	} {
		conn := r.dialSecure(nil)
		_, _ = io.WriteString(conn, request)
		if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("%q: got %.60q, want 400", request, answer)
		}
	}
}

func TestSessionsAreResumed(t *testing.T) { eachPicker(t, testSessionsAreResumed) }

func testSessionsAreResumed(t *testing.T) {
	s := server(t, echo)
	r := runSecure(t, to(granted("a", s)), nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1)
		for i := range 2 {
			conn := r.dialSecure(func(c *tls.Config) { c.ClientSessionCache, c.MinVersion, c.MaxVersion = cache, version, version })
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
				t.Errorf("%s: got %.60q, %v", tls.VersionName(version), answer, err)
			}
			if got := conn.ConnectionState().DidResume; got != (i == 1) {
				t.Errorf("%s, connection %d: resumed is %v", tls.VersionName(version), i, got)
			}
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) { eachPicker(t, testOldTLSIsRefused) }

func testOldTLSIsRefused(t *testing.T) {
	r := runSecure(t, newFakePicker(), nil)
	if conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("a client of TLS 1.1 was served")
	}
	if answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, "HTTPS") {
		t.Errorf("a client without TLS got %q", answer)
	}
}

func TestSilentHandshakesEnd(t *testing.T) { eachPicker(t, testSilentHandshakesEnd) }

func testSilentHandshakesEnd(t *testing.T) {
	r := runSecure(t, newFakePicker(), func(c *Config) { c.Listeners[0].HeaderTimeout = 50 * time.Millisecond })
	if answer := r.raw(""); answer != "" {
		t.Errorf("got %q", answer)
	}
}

// pieces is a connection that sends what it is told in pieces of a size, or, while it
// gathers, nothing.
type pieces struct {
	net.Conn
	size      int // zero: as it is told
	gathering bool
	gathered  []byte
}

func (c *pieces) Write(p []byte) (int, error) {
	if c.gathering {
		c.gathered = append(c.gathered, p...)
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), cmp.Or(c.size, len(rest)))
		if _, err := c.Conn.Write(rest[:n]); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// dialPieces shakes hands over such a connection.
func (r *running) dialPieces(version uint16) (*tls.Conn, *pieces) {
	r.t.Helper()
	below := &pieces{Conn: r.connect()}
	cfg := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName, cfg.MinVersion, cfg.MaxVersion = "localhost", version, version
	conn := tls.Client(below, cfg)
	if err := conn.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return conn, below
}

// Requests are what they are, however their records come: byte by byte, or many at once
// and the last of them in part.
func TestRecordsInPieces(t *testing.T) { eachServer(t, testRecordsInPieces) }

func testRecordsInPieces(t *testing.T) {
	r := runSecure(t, to(granted("a", server(t, echo))), nil)
	request := func(i, size int) string {
		return fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, size, strings.Repeat("x", size))
	}
	answered := func(in *bufio.Reader, i, size int) {
		t.Helper()
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != fmt.Sprintf("POST /%d %s", i, strings.Repeat("x", size)) {
			t.Errorf("request %d: got %d bytes, %v", i, len(body), err)
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, below := r.dialPieces(version)
		in := bufio.NewReader(conn)
		below.size = 1
		_, _ = io.WriteString(conn, request(0, 50)) // the answer tells
		answered(in, 0, 50)
		below.size, below.gathering = 0, true
		for i := range 5 {
			_, _ = io.WriteString(conn, request(i, 10_000*i)) // likewise
		}
		below.gathering = false
		for at := 0; at < len(below.gathered); at += 30_001 {
			_, _ = below.Write(below.gathered[at:min(at+30_001, len(below.gathered))]) // likewise
		}
		for i := range 5 {
			answered(in, i, 10_000*i)
		}
	}
}

// A client that takes little at once gets every byte, and those that follow on its
// connection: what does not go is kept.
func TestNarrowSecureReader(t *testing.T) { eachServer(t, testNarrowSecureReader) }

func testNarrowSecureReader(t *testing.T) {
	out := randomBytes(9, bulk)
	r := runSecure(t, to(granted("a", server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(out) }))), nil)
	conn, below := r.dialPieces(tls.VersionTLS13)
	_ = below.Conn.(*net.TCPConn).SetReadBuffer(128 << 10) // the system may know better
	in := bufio.NewReaderSize(conn, 1000)
	for range 2 {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // the answer tells
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		wantOctets(t, "the client", got, out)
	}
}

// One connection may ask for servers with TLS and without in turn.
func TestSecureOnBothSides(t *testing.T) { eachPicker(t, testSecureOnBothSides) }

func testSecureOnBothSides(t *testing.T) {
	theirs, believed := identity(t, "127.0.0.1")
	plain, secret := granted("plain", server(t, echo)), secureServer(t, theirs, nil, echo)
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if strings.HasPrefix(req.Path, "/secret") {
			return secret, nil
		}
		return plain, nil
	}
	r := runSecure(t, p, func(c *Config) {
		c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Path: "/secret", Pool: "secret", ServerTLS: &tls.Config{RootCAs: believed}})
	})
	for _, path := range []string{"/1", "/2", "/secret/1", "/3", "/secret/2"} {
		if res, body := r.do(secureRequest(r, "POST", path, "x")); res.StatusCode != 200 || body != "POST "+path+" x" {
			t.Errorf("%s: got %d %q", path, res.StatusCode, body)
		}
	}
}

// What a client has said ahead goes with its connection to the loop.
func TestSaidAheadOfSecureServers(t *testing.T) { eachPicker(t, testSaidAheadOfSecureServers) }

func testSaidAheadOfSecureServers(t *testing.T) {
	theirs, believed := identity(t, "127.0.0.1")
	arrived, release := make(chan struct{}), make(chan struct{})
	plain := granted("plain", server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			arrived <- struct{}{}
			<-release
		}
		echo(w, r)
	}))
	secret := secureServer(t, theirs, nil, echo)
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/secret" {
			return secret, nil
		}
		return plain, nil
	}
	r := run(t, p, func(c *Config) {
		c.Loops = 1 // so that who is answered knows that what came before has been read
		c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Path: "/secret", Pool: "secret", ServerTLS: &tls.Config{RootCAs: believed}})
	})
	client, other := r.dial(), r.dial()
	wants := func(path string) {
		t.Helper()
		if res, body := client.response("GET"); res.StatusCode != 200 || body != "GET "+path+" " {
			t.Fatalf("%s: got %d %q", path, res.StatusCode, body)
		}
	}
	const get = "GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
	client.send(get, "/first")
	wants("/first")
	client.send(get+get, "/held", "/secret")
	<-arrived
	client.send(get, "/ahead")
	other.send(get, "/other")
	other.response("GET")
	close(release)
	for _, path := range []string{"/held", "/secret", "/ahead"} {
		wants(path)
	}
}

// A response that breaks off must not look whole to a client that reads to the end of the connection.
func TestBrokenResponsesEndWithoutNotice(t *testing.T) {
	eachPicker(t, testBrokenResponsesEndWithoutNotice)
}

func testBrokenResponsesEndWithoutNotice(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}
	}))
	r := runSecure(t, p, nil)
	conn := r.dialSecure(nil)
	_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if answer, err := io.ReadAll(conn); err == nil {
		t.Errorf("got %q and an end in good order", answer)
	}
	p.wantResults(t, balance.Broken)
}

func TestSecureClientThatLeaves(t *testing.T) { eachServer(t, testSecureClientThatLeaves) }

func testSecureClientThatLeaves(t *testing.T) {
	release := make(chan struct{})
	s := server(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	p := to(granted("a", s))
	r := runSecure(t, p, nil)
	conn := r.dialSecure(nil)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r.asked(1)
	_ = conn.Close()
	p.wantResults(t, balance.Canceled)
}

func TestSecureTunnel(t *testing.T) { eachServer(t, testSecureTunnel) }

func testSecureTunnel(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n")
		_, _ = io.Copy(conn, r)
	}))
	r := runSecure(t, p, nil)
	conn := r.dialSecure(nil)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n")
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %v, %v", res, err)
	}
	word := strings.Repeat("there and back ", 600_000)
	go func() {
		_, _ = io.WriteString(conn, word)
		_ = conn.CloseWrite()
	}()
	if back, err := io.ReadAll(in); err != nil || string(back) != word {
		t.Errorf("%d bytes came back of %d: %v", len(back), len(word), err)
	}
	p.wantResults(t, balance.OK)
}

// secureServer is a server that speaks TLS by this certificate.
func secureServer(t *testing.T, cert tls.Certificate, clients *x509.CertPool, h http.HandlerFunc) balance.Grant {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if clients != nil {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return balance.Grant{Server: "a", Address: "https://" + s.Listener.Addr().String()}
}

func TestServersByTLS(t *testing.T) { eachPicker(t, testServersByTLS) }

func testServersByTLS(t *testing.T) {
	theirs, believed := identity(t, "127.0.0.1")
	named, namedBelieved := identity(t, "render.internal")
	ours, known := identity(t, "edge")
	_, others := identity(t, "127.0.0.1")
	present := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }
	for _, c := range []struct {
		name   string
		grant  balance.Grant
		route  *tls.Config
		status int
	}{
		{"believed", secureServer(t, theirs, nil, echo), &tls.Config{RootCAs: believed}, 200},
		{"not believed", secureServer(t, theirs, nil, echo), &tls.Config{RootCAs: others}, 502},
		{"not known to the system", secureServer(t, theirs, nil, echo), nil, 502},
		{"named", secureServer(t, named, nil, echo), &tls.Config{RootCAs: namedBelieved, ServerName: "render.internal"}, 200},
		{"of another name", secureServer(t, named, nil, echo), &tls.Config{RootCAs: namedBelieved}, 502},
		{"asks for a certificate", secureServer(t, theirs, known, echo), &tls.Config{RootCAs: believed, GetClientCertificate: present}, 200},
		{"asks for another", secureServer(t, theirs, others, echo), &tls.Config{RootCAs: believed, GetClientCertificate: present}, 502},
	} {
		r := run(t, to(c.grant), func(cfg *Config) { cfg.Listeners[0].Routes[0].ServerTLS = c.route })
		for range 2 {
			if res, body := r.do(r.request("POST", "/", "x")); res.StatusCode != c.status {
				t.Errorf("%s: got %d %s, want %d", c.name, res.StatusCode, body, c.status)
			}
		}
	}
}

// Connections by TLS are kept, but not used when their server has closed them.
func TestConnectionsByTLSAreKept(t *testing.T) { eachPicker(t, testConnectionsByTLSAreKept) }

func testConnectionsByTLSAreKept(t *testing.T) {
	theirs, believed := identity(t, "127.0.0.1")
	accepted := make(chan net.Conn, 8)
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{theirs}}
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- conn
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	p := to(balance.Grant{Server: "a", Address: "https://" + s.Listener.Addr().String()})
	r := run(t, p, func(cfg *Config) { cfg.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed} })
	post := func() {
		t.Helper()
		if res, body := r.do(r.request("POST", "/", "x")); res.StatusCode != 200 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	post()
	post()
	if len(accepted) != 1 {
		t.Fatalf("%d connections for two requests, want 1", len(accepted))
	}
	s.CloseClientConnections() // returns when they are closed
	post()
	if len(accepted) != 2 {
		t.Errorf("%d connections, want 2", len(accepted))
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
}

// A server that takes the connection and never shakes hands is unreachable, not awaited for ever.
func TestServerThatShakesNoHands(t *testing.T) {
	t.Parallel()
	eachPicker(t, testServerThatShakesNoHands)
}

func testServerThatShakesNoHands(t *testing.T) {
	silent := scripted(t, func(_ *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	theirs, believed := identity(t, "127.0.0.1")
	good := secureServer(t, theirs, nil, echo)
	good.Server = "good"
	p := newFakePicker()
	silent.Address = "https://" + silent.Address
	p.pick = among(silent, good)
	r := run(t, p, func(cfg *Config) {
		cfg.ConnectTimeout = 2 * time.Second // in which the good server must have shaken hands
		cfg.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed}
	})
	if res, body := r.do(r.request("POST", "/", "x")); res.StatusCode != 200 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	p.wantResults(t, balance.Unreachable, balance.OK)
}

func TestSecureDrain(t *testing.T) { eachServer(t, testSecureDrain) }

func testSecureDrain(t *testing.T) {
	s := server(t, echo)
	r := runSecure(t, to(granted("a", s)), nil)
	conn := r.dialSecure(nil)
	r.stop()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, context.Canceled) || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("got %.60q, %v", answer, err)
	}
}
