//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
)

// authority makes a CA that lives for this run, and with it the master's side of TLS and
// what edges need for theirs.
func authority() (*tls.Config, *trial.Places, error) {
	ca, caKey, err := certificate(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	root, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, nil, err
	}
	pair := func(use x509.ExtKeyUsage) (cert, key []byte, err error) {
		der, k, err := certificate(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, root, caKey)
		if err != nil {
			return nil, nil, err
		}
		bytes, err := x509.MarshalECPrivateKey(k)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes}), err
	}
	places := &trial.Places{Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})}
	if places.Cert, places.Key, err = pair(x509.ExtKeyUsageClientAuth); err != nil {
		return nil, nil, err
	}
	cert, key, err := pair(x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, nil, err
	}
	both, err := tls.X509KeyPair(cert, key)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return &tls.Config{Certificates: []tls.Certificate{both}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}, places, err
}

// door listens for a master that takes connections in one way only: plainly or, if wanted,
// by TLS. The wraps come beneath TLS. It returns what the others need.
func door(byTLS bool, wraps ...func(net.Listener) net.Listener) (net.Listener, *trial.Places, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	places, at := &trial.Places{}, l.Addr().String()
	for _, wrap := range wraps {
		l = wrap(l)
	}
	if byTLS {
		theirs, secure, err := authority()
		if err != nil {
			return nil, nil, err
		}
		l, places = tls.NewListener(l, theirs), secure
	}
	places.TCP = at
	return l, places, nil
}

// crewTLS is the side of those who connect to a door; nil: it is a plain one.
func crewTLS(p *trial.Places) (*tls.Config, error) {
	if len(p.Cert) == 0 {
		return nil, nil
	}
	return edgeTLS(p)
}

// certificate signs one; without a parent, by itself.
func certificate(c, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, signer = c, key
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "evenkeel bench"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	return der, key, err
}

// edgeTLS is the edges' side.
func edgeTLS(p *trial.Places) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.Authority)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "127.0.0.1"}, err
}
