package routing

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// ownCertificate returns a certificate for localhost and those who believe it.
func ownCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, key, err := selfsigned.New("localhost")
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

// handshake has a client and a server speak TLS until the client has read a byte, and so the tickets before it.
func handshake(t *testing.T, server, client *tls.Config) {
	t.Helper()
	one, other := net.Pipe()
	served := make(chan error, 1)
	go func() {
		conn := tls.Server(one, server)
		_, err := conn.Write([]byte{1})
		served <- err
	}()
	conn := tls.Client(other, client)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	_, _ = one.Close(), other.Close()
}
