package routing

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// What a parsed head and its trailers say by name, in whatever letters.
func TestViewsOfFields(t *testing.T) {
	buf := []byte("POST / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX_ONE: 2\r\nX-Two: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
	var head http1.RequestHead
	if n, err := head.Parse(buf); n != len(buf) || err != nil {
		t.Fatalf("the head has %d bytes of %d, %v", n, len(buf), err)
	}
	v := &HeaderView{Head: &head.Head, Buf: buf}
	if got := v.All("x-one"); !slices.Equal(got, []string{"1", "2"}) || v.First("x-one") != "1" || v.First("host") != "a" || v.First("none") != "" || v.All("none") != nil {
		t.Errorf("fields: x-one %q, first %q, host %q, none %q", got, v.First("x-one"), v.First("host"), v.First("none"))
	}
	for letter, want := range map[byte]bool{'x': true, 'h': true, 't': true, 'a': false, 'z': false} {
		if v.HasInitial(letter) != want {
			t.Errorf("a field begins with %c: %v, want %v", letter, !want, want)
		}
	}
	body := head.Body()
	in := []byte("0\r\nX-One: 1\r\nX-Two: 2\r\nx-two: 3\r\n\r\n")
	_, n, err := body.Decode(in)
	if err != nil || !body.AtTrailers() {
		t.Fatalf("the last chunk has %d bytes, %v", n, err)
	}
	var trailers http1.Trailers
	if end, err := body.ReadTrailers(&trailers, in[n:]); end != len(in)-n || err != nil {
		t.Fatalf("the trailers have %d bytes, %v", end, err)
	}
	w := &TrailerView{Trailers: &trailers, Buf: in[n:]}
	if got := w.All("x-two"); !slices.Equal(got, []string{"2", "3"}) || w.First("x-one") != "1" || w.First("x-two") != "2" || w.First("none") != "" || w.All("none") != nil {
		t.Errorf("trailers: x-two %q, x-one %q, none %q", got, w.First("x-one"), w.First("none"))
	}
}

func TestHopsByEdgesOfAName(t *testing.T) {
	for _, c := range []struct {
		via  []string
		want int
	}{
		{nil, 0}, {[]string{"1.1 east"}, 1}, {[]string{"1.1 east, 2 west ,HTTP/2  east (evenkeel)", "1.0 east"}, 3}, {[]string{"1.1 eastern, east, 1.1 a east"}, 0},
	} {
		if got := HopsBy(c.via, "east"); got != c.want {
			t.Errorf("%q: %d hops, want %d", c.via, got, c.want)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"": false, "a": true, "azAZ09-._~+/=:@": true, "a b": false, "a\n": false, "a{": false, "a[": false, "a`": false, "a,": false, "a;": false,
		strings.Repeat("x", longestRequestID): true, strings.Repeat("x", longestRequestID+1): false,
	} {
		if IsRequestID(id) != want {
			t.Errorf("%q is fit to be an id: %v, want %v", id, !want, want)
		}
	}
	for c := range 256 {
		if got, want := IsToken(string([]byte{byte(c)})), strings.IndexByte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", byte(c)) >= 0; got != want {
			t.Errorf("%q is a token: %v, want %v", rune(c), got, want)
		}
	}
}

// A buffer is used again, unless it is large.
func TestTextIsKeptInOneBuffer(t *testing.T) {
	var o OwnedText
	first := unsafe.StringData(o.Clone("abc"))
	o.Reset()
	if again := unsafe.StringData(o.Clone("def")); again != first {
		t.Error("behind a reset text is kept elsewhere")
	}
	o.Clone(strings.Repeat("x", maxKeptText+1))
	if o.Reset(); cap(o.buf) > maxKeptText {
		t.Errorf("a buffer of %d bytes is kept", cap(o.buf))
	}
}

// shown is the state of a connection whose client has shown a name and, unless it is empty, a certificate for a subject.
func shown(t *testing.T, name, subject string, alt ...string) *tls.ConnectionState {
	t.Helper()
	state := &tls.ConnectionState{ServerName: name}
	if subject != "" {
		raw, err := asn1.Marshal(pkix.RDNSequence{rdn(cn, subject)})
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{RawSubject: raw, DNSNames: alt}
		state.PeerCertificates, state.VerifiedChains = []*x509.Certificate{cert}, [][]*x509.Certificate{{cert}}
	}
	return state
}

func TestWhatClientsShowByTLS(t *testing.T) {
	for _, c := range []struct {
		state *tls.ConnectionState
		want  ClientTLS
	}{
		{shown(t, "A.example.", ""), ClientTLS{name: "a.example"}},
		{shown(t, "", "ann"), ClientTLS{Subject: "CN=ann"}},
		{shown(t, "a.example", "ann", "ann.example"), ClientTLS{name: "a.example", Subject: "CN=ann", AltName: "ann.example"}},
	} {
		if got := NewClientTLS(c.state); got == nil || *got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	if got := NewClientTLS(shown(t, "", "")); got != nil {
		t.Errorf("who shows nothing has shown %+v", got)
	}
	unverified := shown(t, "", "ann")
	unverified.VerifiedChains = nil
	if got := NewClientTLS(unverified); got != nil {
		t.Errorf("who has shown what was not verified has shown %+v", got)
	}
}

// A client that was admitted under one name does not reach what is routed by another.
func TestMisdirectedRequests(t *testing.T) {
	l := bound(t, Listener{Routes: []Route{{Host: "a.example", Pool: "a"}, {Host: "b.example", Pool: "b"}, {Pool: "rest"}}})
	for _, c := range []struct {
		shown string
		host  string
		want  bool
	}{
		{"", "a.example", false}, {"a.example", "a.example", false}, {"a.example", "A.Example", false}, {"a.example", "a.example:443", false}, {"a.example", "a.example.", false},
		{"a.example", "b.example", true}, {"a.example", "c.example", true}, {"c.example", "a.example", true}, {"c.example", "d.example", false},
	} {
		h := headOf(c.host, "/")
		r := l.BoundRoutes.Match(h.Host, h.Path)
		if got := NewClientTLS(shown(t, c.shown, "")).Misdirected(l, h, r); got != c.want {
			t.Errorf("%q by TLS and %q in the request: misdirected %v, want %v", c.shown, c.host, got, c.want)
		}
	}
	other := &BoundRoute{}
	if NewClientTLS(shown(t, "", "ann")).Misdirected(l, headOf("a.example", "/"), other) || NewClientTLS(shown(t, "a.example", "")).Misdirected(l, headOf("a.example:1", "/"), other) {
		t.Error("without another name a request is misdirected")
	}
}

// Which TLS a listener speaks.
func TestTLSOfListeners(t *testing.T) {
	if (&Listener{}).tlsConfig() != nil {
		t.Error("without a certificate there is TLS")
	}
	authorities := x509.NewCertPool()
	for _, c := range []struct {
		certs ClientCerts
		want  tls.ClientAuthType
	}{
		{ClientCerts{}, tls.NoClientCert}, {ClientCerts{Authorities: authorities}, tls.RequireAndVerifyClientCert}, {ClientCerts{Authorities: authorities, Optional: true}, tls.VerifyClientCertIfGiven},
	} {
		cfg := (&Listener{Certificate: noCertificate, TLSPolicy: Modern, ClientCerts: c.certs}).tlsConfig()
		if cfg.ClientAuth != c.want || cfg.ClientCAs != c.certs.Authorities || cfg.MinVersion != tls.VersionTLS13 || !slices.Equal(cfg.NextProtos, []string{"h2", "http/1.1"}) || cfg.WrapSession != nil {
			t.Errorf("%+v: clients prove themselves by %v, authorities %v, from %x", c.certs, cfg.ClientAuth, cfg.ClientCAs, cfg.MinVersion)
		}
		if c.certs.Authorities == nil {
			continue
		}
		if err := cfg.VerifyConnection(*shown(t, "", "")); err != nil {
			t.Errorf("%+v: without a certificate: %v", c.certs, err)
		}
		if err := cfg.VerifyConnection(*shown(t, "", "ann")); err != nil {
			t.Errorf("%+v: %v", c.certs, err)
		}
		if err := cfg.VerifyConnection(*shown(t, "", strings.Repeat("x", 2000))); err == nil {
			t.Errorf("%+v: a subject that is too long is taken", c.certs)
		}
	}
}

// A ticket is taken by listeners that share keys and ask for the same proof, with what others have put there.
func TestTicketsAreBound(t *testing.T) {
	shared, other := NewTickets(), NewTickets()
	shared.SetKeys([][32]byte{{1}})
	other.SetKeys([][32]byte{{2}})
	listener := func(tickets *Tickets, binding byte) *tls.Config {
		return (&Listener{Certificate: noCertificate, Tickets: tickets, ClientCerts: ClientCerts{Binding: [32]byte{binding}}}).tlsConfig()
	}
	server := listener(shared, 1)
	var state tls.ConnectionState
	ticket, err := server.WrapSession(state, newSession(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  *tls.Config
		want bool
	}{
		{"the same", server, true}, {"one with the same keys", listener(shared, 1), true}, {"one with another proof", listener(shared, 2), false}, {"one with other keys", listener(other, 1), false},
	} {
		session, err := c.cfg.UnwrapSession(slices.Clone(ticket), state)
		if err != nil || (session != nil) != c.want {
			t.Errorf("%s resumes the session: %v, %v, want %v", c.name, session != nil, err, c.want)
		}
		if session != nil && (len(session.Extra) != 1 || string(session.Extra[0]) != "more") {
			t.Errorf("%s: the session has %q beside, want what was there alone", c.name, session.Extra)
		}
	}
	again := NewTickets()
	again.SetKeys([][32]byte{{1}})
	if session, err := listener(again, 1).UnwrapSession(slices.Clone(ticket), state); session == nil || err != nil {
		t.Errorf("another process with the same keys: %v, %v, want the session", session, err)
	}
	plain, err := shared.keys.EncryptTicket(state, newSession(t))
	if err != nil {
		t.Fatal(err)
	}
	if session, err := server.UnwrapSession(plain, state); session != nil || err != nil {
		t.Errorf("a ticket that is bound to nothing: %v, %v, want that it is not resumed", session, err)
	}
}

// newSession returns the state of a session in which a handler has put "more".
func newSession(t *testing.T) *tls.SessionState {
	t.Helper()
	cert, pool := ownCertificate(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	var session *tls.SessionState
	cfg.WrapSession = func(state tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		session = s
		return cfg.EncryptTicket(state, s)
	}
	handshake(t, cfg, &tls.Config{RootCAs: pool, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)})
	if session == nil {
		t.Fatal("a handshake has made no session")
	}
	session.Extra = [][]byte{[]byte("more")}
	return session
}

func TestSourcesOfLengths(t *testing.T) {
	for n, want := range map[int64]string{-1: "", 0: "", 1: "1", 12345: "12345"} {
		if got := lengthText(n); got != want {
			t.Errorf("a length of %d is %q, want %q", n, got, want)
		}
	}
	s, err := newFactSource("size", "content-length", func(string) error { return errors.New("no constant") })
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int64]Reading{0: Absent, 5: Found} {
		if _, how := s.read(sourceInput{RequestInfo: &RequestInfo{ContentLength: n}}); how != want {
			t.Errorf("a length of %d is read as %v, want %v", n, how, want)
		}
	}
}

func TestMatchedHosts(t *testing.T) {
	rs := bound(t, Listener{Routes: []Route{{Host: "*.example", Pool: "below"}, {Host: "[::1]", Pool: "six"}}}).BoundRoutes
	for host, want := range map[string]string{".example": "", "a.example": "below", "example": "", "[::1]": "six", "[::1]:80": "six", ":80": "", "notexample": ""} {
		got := ""
		if r := rs.Match(host, "/"); r != nil {
			got = r.Pool
		}
		if got != want {
			t.Errorf("%q: pool %q, want %q", host, got, want)
		}
	}
	if r := (boundRoutes{}).Match("a", "/"); r != nil {
		t.Errorf("no route takes a request: %+v", r)
	}
	if r := bound(t, Listener{Routes: []Route{{Path: "/v1"}}}).BoundRoutes[0]; r.takesPath("/v1x") || !r.takesPath("/v1") || !r.takesPath("/v1/x") {
		t.Error("a path is not compared by segments")
	}
}
