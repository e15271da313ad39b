package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signer makes a master with an issuer for pools.
func signer(t *testing.T, a *Authority, dir string, pools ...string) (*Signer, *Keeper) {
	t.Helper()
	_, k := issuer(t, a, dir, pools...)
	stem := filepath.Join(dir, "issuer-team")
	s, err := OpenSigner(stem+".crt", stem+".key", k, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

var r1 = Subject{Identity{Agent, "r1"}, Bounds{Pools: []string{"web"}}}

// request makes a key in a folder and a request of it.
func request(t *testing.T, dir string) (*Key, *Request) {
	t.Helper()
	key, err := OpenKey(filepath.Join(dir, "agent.key.new"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, r
}

// What a request says of names, roles and uses counts for nothing.
func TestARequestCannotNameItsOwner(t *testing.T) {
	a, dir := authority(t)
	s, m := signer(t, a, dir, "web")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	king, _ := url.Parse("evenkeel://master/m1")
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "master m1"}, URIs: []*url.URL{king}, DNSNames: []string{"m1"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := s.Sign(r1, r, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(issued.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if who, err := SubjectOf(cert); err != nil || who.Identity != r1.Identity || cert.IsCA || len(cert.DNSNames) > 0 || cert.Subject.CommonName != "agent r1" {
		t.Errorf("got %v, %v, a CA: %v", who, err, cert.IsCA)
	}
	if _, err := m.current.Load().check([]*x509.Certificate{cert, s.current.Load().cert}, x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if _, err := ReadRequest(append(der[:len(der)-1], der[len(der)-1]^1)); err == nil {
		t.Error("a request that its key has not signed was taken")
	}
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, big); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRequest(der); err == nil {
		t.Error("a request of another kind of key was taken")
	}
}

func TestAnEnrolledCertificateEndsWithItsIssuer(t *testing.T) {
	a, dir := authority(t)
	s, _ := signer(t, a, dir, "web")
	_, r := request(t, dir)
	issued, err := s.Sign(r1, r, time.Now(), 90*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if ends := s.current.Load().cert.NotAfter; !issued.Ends.Equal(ends) {
		t.Errorf("it ends at %v, want with the issuer at %v", issued.Ends, ends)
	}
	if err := s.Judge(r1, time.Now().Add(IssuerLife)); err == nil {
		t.Error("an issuer that has ended signs")
	}
}

// A master goes by its own authority, and by the list of the denied, whatever its issuer's files say.
func TestAnIssuerThatIsNotTheMastersIsNotUsed(t *testing.T) {
	a, dir := authority(t)
	other, otherDir := authority(t)
	s, k := signer(t, a, dir, "web")
	issuer(t, other, otherDir, "web")
	stem := filepath.Join(otherDir, "issuer-team")
	if _, err := OpenSigner(stem+".crt", stem+".key", k, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "does not come from the authority") {
		t.Errorf("got %v", err)
	}
	f := issue(t, a, dir, Identity{Agent, "r9"})
	if _, err := OpenSigner(f.Cert, f.Key, k, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no issuer's certificate") {
		t.Errorf("an agent's certificate: got %v", err)
	}
	list := filepath.Join(dir, "denied")
	if err := os.WriteFile(list, []byte("serial "+serialOf(s.current.Load().cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	k.files.Denied = list
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	_, r := request(t, dir)
	if _, err := s.Sign(r1, r, time.Now(), time.Hour); err == nil || !strings.Contains(err.Error(), "denied") {
		t.Errorf("a denied issuer: got %v", err)
	}
}

// The key is its owner's alone, and stands in one file with its certificate.
func TestAnEnrolledKeyIsTheOwnersAlone(t *testing.T) {
	a, dir := authority(t)
	s, _ := signer(t, a, dir, "web")
	key, r := request(t, dir)
	if again, _ := request(t, dir); !again.key.Equal(key.key) {
		t.Error("an attempt that broke off has left its key, and another was made")
	}
	issued, err := s.Sign(r1, r, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agent-r1.pem")
	for _, other := range []Identity{{Agent, "r2"}, {Master, "r1"}} {
		if err := key.Finish(issued.Chain, other, file); err == nil {
			t.Errorf("a certificate for r1 was taken by %v", other)
		}
	}
	stranger, err := OpenKey(filepath.Join(dir, "other.key.new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Finish(issued.Chain, r1.Identity, file); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("a certificate for another key: got %v", err)
	}
	for _, name := range []string{key.file, stranger.file} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v (%v), want mode 0600", name, info.Mode(), err)
		}
	}
	if err := key.Finish(issued.Chain, r1.Identity, file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v (%v), want mode 0600", info.Mode(), err)
	}
	if _, err := os.Stat(key.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key alone is still there: %v", err)
	}
	ca, _ := AuthorityFiles(dir)
	k := open(t, Files{Cert: file, Key: file, CA: ca})
	half, ok := k.Renewal()
	if left := time.Until(half); !ok || k.Identity() != r1.Identity || left < 29*time.Minute || left > 31*time.Minute {
		t.Errorf("got %v, to be renewed in %v, %v", k.Identity(), left, ok)
	}
	if _, ok := open(t, issue(t, a, dir, Identity{Agent, "r3"})).Renewal(); ok {
		t.Error("the authority's own signature is renewed by a master")
	}
}

// met is what a listener got of a peer's bytes once TLS stood.
type met struct {
	bytes int
	err   error
}

// fake serves one connection as a peer that may be no master of ours.
func fake(t *testing.T, accept func(net.Conn) (net.Conn, error)) (at string, got chan met) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	got = make(chan met, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		secure, err := accept(conn)
		if secure == nil {
			got <- met{0, err}
			return
		}
		n, err := io.Copy(io.Discard, secure)
		got <- met{int(n), err}
	}()
	return l.Addr().String(), got
}

// by makes a peer's TLS of a certificate's files, with an authority behind it.
func by(t *testing.T, f Files, more ...[]byte) func(net.Conn) (net.Conn, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	pair.Certificate = append(pair.Certificate, more...)
	return func(conn net.Conn) (net.Conn, error) {
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{enrolProtocol}})
		return secure, secure.Handshake()
	}
}

// A peer that does not come from the authority that the token names, or is no master, is sent not one byte.
func TestAFalseMasterGetsNothing(t *testing.T) {
	a, dir := authority(t)
	other, otherDir := authority(t)
	_, k := signer(t, a, dir, "web")
	k.Enrol()
	plainKeeper := open(t, issue(t, a, dir, Identity{Master, "m2"}))
	denied := issue(t, a, dir, Identity{Master, "m3"})
	list, err := ReadDenylist([]byte("master m3"))
	if err != nil {
		t.Fatal(err)
	}
	accept := func(k *Keeper) func(net.Conn) (net.Conn, error) {
		return func(conn net.Conn) (net.Conn, error) {
			secure, _, err := k.Accept(context.Background(), conn)
			if secure == nil {
				return nil, err
			}
			return secure, nil // an agent that enrols shows no certificate, which is an error to others
		}
	}
	for _, c := range []struct {
		what   string
		accept func(net.Conn) (net.Conn, error)
		says   string // empty: it is a master
	}{
		{"a master", accept(k), ""},
		{"a master that signs nothing", accept(plainKeeper), "signs no agents' certificates"},
		{"another authority's master", by(t, issue(t, other, otherDir, Identity{Master, "m1"}), other.cert.Raw), "not the one that the token names"},
		{"another authority's, with ours shown too", by(t, issue(t, other, otherDir, Identity{Master, "m1"}), other.cert.Raw, a.cert.Raw), "authority that is not trusted"},
		{"ours shown alone, without its key", by(t, issue(t, other, otherDir, Identity{Master, "m1"}), a.cert.Raw), "authority that is not trusted"},
		{"an agent of ours", by(t, issue(t, a, dir, Identity{Agent, "r5"}), a.cert.Raw), "of the wrong kind"},
		{"an edge of ours", by(t, issue(t, a, dir, Identity{Edge, "e1"}), a.cert.Raw), "of the wrong kind"},
		{"a master that is denied", by(t, denied, a.cert.Raw), "denied"},
		{"plain text", func(conn net.Conn) (net.Conn, error) {
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return nil, nil
		}, "speaks HTTP"},
	} {
		t.Run(c.what, func(t *testing.T) {
			at, got := fake(t, c.accept)
			conn, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
			secure, found, err := SecureByFingerprint(t.Context(), conn, Fingerprint(a.cert.Raw), list)
			if c.says == "" {
				if err != nil || !found.Equal(a.cert) {
					t.Fatalf("got %v", err)
				}
				_, _ = secure.Write([]byte("secret"))
				_ = secure.Close()
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
			_ = conn.Close()
			if m := <-got; (m.bytes > 0) != (c.says == "") {
				t.Errorf("it was sent %d bytes (%v)", m.bytes, m.err)
			}
		})
	}
}
