package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// How long what an authority makes is valid.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	DefaultLife   = 365 * 24 * time.Hour

	backdate = 5 * time.Minute // for clocks that are behind
)

// Authority signs the certificates of components.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a private authority in a folder, as ca.crt and ca.key. It
// overwrites nothing.
func NewAuthority(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "Evenkeel authority"}, NotBefore: now.Add(-backdate), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	made, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{made.cert, made.key}, made.write(AuthorityFiles(dir))
}

// AuthorityFiles returns where an authority keeps its certificate and key.
func AuthorityFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
}

// OpenAuthority reads an authority from its folder.
func OpenAuthority(dir string) (*Authority, error) {
	certFile, keyFile := AuthorityFiles(dir)
	certDER, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	keyDER, err := readPEM(keyFile, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	return &Authority{cert, key}, nil
}

// Issue makes a component's certificate and key, in files that must not exist.
func (a *Authority) Issue(who Identity, now time.Time, life time.Duration, certFile, keyFile string) error {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: who.String()}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life), URIs: []*url.URL{who.URI()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	if who.Role == Master { // masters are connected to, and may connect to each other
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		return fmt.Errorf("it would outlive its authority, which ends at %s", a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	made, err := sign(template, a)
	if err != nil {
		return err
	}
	return made.write(certFile, keyFile)
}

// signed is a certificate with its key.
type signed struct {
	der  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a key and a certificate for it. Without an authority it signs itself.
func sign(template *x509.Certificate, by *Authority) (*signed, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if by == nil {
		by = &Authority{template, key}
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &signed{der, cert, key}, err
}

// write puts the key first: a certificate without a key is of no use, and the other
// way round it can be seen what is missing.
func (s *signed) write(certFile, keyFile string) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s exists: move it away first, nothing is overwritten", name)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return err
	}
	if err := create(keyFile, 0o600, "PRIVATE KEY", key); err != nil {
		return err
	}
	return create(certFile, 0o644, "CERTIFICATE", s.der)
}

func create(name string, mode os.FileMode, kind string, der []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
}

func readPEM(name, kind string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no %s in it, want PEM", name, kind)
	}
	return block.Bytes, nil
}
