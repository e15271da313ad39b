package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// identity returns a certificate for a name, and who believes it.
func identity(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	believed := x509.NewCertPool()
	believed.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, believed
}

// A server must prove to be the one that is meant, by the configured name or else by the target's, and agree on HTTP/2 where that is
// to be spoken.
func TestWhatAServerHasToProve(t *testing.T) {
	cert, believed := identity(t, "a.test")
	_, others := identity(t, "a.test")
	for _, c := range []struct {
		name     string
		by       *x509.CertPool
		cfg      string // its ServerName
		to       string
		want     string // protocol of ours
		offers   []string
		problem  string
		protocol string
	}{
		{"as meant", believed, "", "a.test", "http/1.1", nil, "", ""},
		{"as configured", believed, "a.test", "b.test", "http/1.1", nil, "", ""},
		{"another name", believed, "", "b.test", "http/1.1", nil, "b.test", ""},
		{"another name configured", believed, "b.test", "a.test", "http/1.1", nil, "b.test", ""},
		{"of an authority that is not believed", others, "", "a.test", "http/1.1", nil, "authority", ""},
		{"HTTP/2", believed, "", "a.test", "h2", []string{"h2", "http/1.1"}, "", "h2"},
		{"HTTP/2 of a server that agrees on nothing", believed, "", "a.test", "h2", nil, `protocol "" by TLS, want "h2"`, ""},
		{"HTTP/1.1 of a server that agrees on nothing", believed, "", "a.test", "http/1.1", nil, "", ""},
	} {
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: c.offers, SessionTicketsDisabled: true}).Handshake()
			_, _ = far.Read(make([]byte, 1)) // an alert
		}()
		cfg := CompleteTLS(&tls.Config{RootCAs: c.by, ServerName: c.cfg}, c.want)
		s, err := handshake(t.Context(), near, &Target{Address: "192.0.2.1:443", TLS: cfg, Name: c.to})
		switch {
		case (err == nil) != (c.problem == ""), err != nil && !strings.Contains(err.Error(), c.problem):
			t.Errorf("%s: %v, want %q", c.name, err, c.problem)
		case err == nil && s.TLS.ConnectionState().NegotiatedProtocol != c.protocol:
			t.Errorf("%s: agreed on %q, want %q", c.name, s.TLS.ConnectionState().NegotiatedProtocol, c.protocol)
		}
		if cfg.ServerName != c.cfg {
			t.Errorf("%s: the shared configuration was changed: it has the name %q", c.name, cfg.ServerName)
		}
		_ = near.Close()
		<-served
	}
}

// Servers of one name at different addresses share no session: it would be another's.
func TestServersShareNoSessions(t *testing.T) {
	all := tls.NewLRUClientSessionCache(10)
	a, b := serverSessions{all, "192.0.2.1:443"}, serverSessions{all, "192.0.2.2:443"}
	session := new(tls.ClientSessionState)
	a.Put("app.test", session)
	if got, ok := a.Get("app.test"); !ok || got != session {
		t.Error("a server's session is lost")
	}
	if _, ok := b.Get("app.test"); ok {
		t.Error("a server has another's session")
	}
	if _, ok := a.Get("other.test"); ok {
		t.Error("a server has another name's session")
	}
}

func TestCompleteTLS(t *testing.T) {
	if cfg := CompleteTLS(nil, "h2"); cfg.MinVersion != tls.VersionTLS12 || len(cfg.NextProtos) != 1 || cfg.NextProtos[0] != "h2" || cfg.ClientSessionCache == nil {
		t.Errorf("the default is %+v", cfg)
	}
	given := &tls.Config{ServerName: "a", MinVersion: tls.VersionTLS13}
	if cfg := CompleteTLS(given, "http/1.1"); cfg == given || cfg.ServerName != "a" || cfg.MinVersion != tls.VersionTLS13 || cfg.NextProtos[0] != "http/1.1" || given.NextProtos != nil {
		t.Errorf("of %+v it makes %+v", given, cfg)
	}
}
