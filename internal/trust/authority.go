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
	IssuerLife    = 14 * 24 * time.Hour

	backdate = 5 * time.Minute // for clocks that are behind
)

// Authority signs the certificates of components. One that is an issuer signs for agents of its pools alone.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a private authority in a folder, as ca.crt and ca.key. It overwrites nothing. Each has
// a name of its own, so that two are told apart in messages.
func NewAuthority(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	mark := make([]byte, 4)
	_, _ = rand.Read(mark) // never fails
	template := &x509.Certificate{Subject: pkix.Name{CommonName: fmt.Sprintf("Evenkeel authority %x", mark)}, NotBefore: now.Add(-backdate), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	made, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: made.cert, key: made.key}, made.write(AuthorityFiles(dir))
}

// AuthorityFiles returns where an authority keeps its certificate and key.
func AuthorityFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
}

// OpenAuthority reads an authority from its folder.
func OpenAuthority(dir string) (*Authority, error) { return openAuthority(AuthorityFiles(dir)) }

// OpenIssuer reads an issuer from its files.
func OpenIssuer(certFile, keyFile string) (*Authority, error) {
	a, err := openAuthority(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if _, ok := issuerOf(a.cert); !ok {
		return nil, fmt.Errorf("%s is no issuer's certificate: evenkeel certs issuer makes one", certFile)
	}
	return a, nil
}

func openAuthority(certFile, keyFile string) (*Authority, error) {
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
	return &Authority{cert: cert, key: key}, nil
}

// componentTemplate is a certificate of a component that has no key yet.
func componentTemplate(who Subject, now time.Time, life time.Duration) *x509.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: who.String()}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life), URIs: []*url.URL{who.URI()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	if who.Role == Master { // masters are connected to, and may connect to each other
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return template
}

// Issue makes a component's certificate and key, in files that must not exist.
func (a *Authority) Issue(who Subject, now time.Time, life time.Duration, certFile, keyFile string) error {
	made, err := a.makeComponent(who, now, life)
	if err != nil {
		return err
	}
	return made.write(certFile, keyFile)
}

// makeComponent refuses what an issuer may not sign: a peer that is shown such a certificate would refuse it.
func (a *Authority) makeComponent(who Subject, now time.Time, life time.Duration) (*signed, error) {
	template := componentTemplate(who, now, life)
	issuer, ok := issuerOf(a.cert)
	if !ok {
		return a.make(template)
	}
	if err := issuer.judge(who); err != nil {
		return nil, err
	}
	made, err := a.make(template)
	if err == nil {
		made.above = a.cert.Raw
	}
	return made, err
}

// IssueIssuer makes an issuer, in files that must not exist or with renew take the place of old ones.
func (a *Authority) IssueIssuer(who Issuer, now time.Time, life time.Duration, certFile, keyFile string, renew bool) error {
	if a.cert.MaxPathLen < 1 {
		return errors.New("this authority was made by an earlier release, and may sign no issuers: make a new one, by evenkeel certs init --dir FOLDER, and put both ca.crt into one file until all components have new certificates")
	}
	made, err := a.make(&x509.Certificate{Subject: pkix.Name{CommonName: who.String()}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life), URIs: []*url.URL{who.URI()},
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{string(Agent)}})
	if err != nil {
		return err
	}
	if renew {
		return made.replace(certFile, keyFile)
	}
	return made.write(certFile, keyFile)
}

// make signs a template with a key of its own.
func (a *Authority) make(template *x509.Certificate) (*signed, error) {
	if template.NotAfter.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("it would outlive its authority, which ends at %s", a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return sign(template, a)
}

// signed is a certificate with its key.
type signed struct {
	der   []byte
	above []byte // the issuer's certificate, which is shown with it; nil: the authority has signed it
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

// sign makes a key and a certificate for it. Without an authority it signs itself.
func sign(template *x509.Certificate, by *Authority) (*signed, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if by == nil {
		by = &Authority{cert: template, key: key}
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &signed{der: der, cert: cert, key: key}, err
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// existsError is the error of a file that is in the way. It is an fs.ErrExist.
type existsError string

func (e existsError) Error() string {
	return string(e) + " exists: move it away first, nothing is overwritten"
}

func (e existsError) Is(target error) bool { return target == os.ErrExist }

// write puts the key first: a certificate without a key is of no use, and the other
// way round it can be seen what is missing.
func (s *signed) write(certFile, keyFile string) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil {
			return existsError(name)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return err
	}
	if err := create(keyFile, 0o600, "PRIVATE KEY", key); err != nil {
		return err
	}
	return create(certFile, 0o644, "CERTIFICATE", s.chain()...)
}

// replace puts both files in the place of old ones, each at once. Who reads between the two renames sees a
// key that does not fit, keeps what it has, and looks again.
func (s *signed) replace(certFile, keyFile string) error {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return err
	}
	if err := swap(keyFile, 0o600, "PRIVATE KEY", key); err != nil {
		return err
	}
	return swap(certFile, 0o644, "CERTIFICATE", s.chain()...)
}

// swap writes PEM blocks of one kind into a file at once: no reader sees half of it.
func swap(name string, mode os.FileMode, kind string, ders ...[]byte) error {
	var blocks []*pem.Block
	for _, der := range ders {
		blocks = append(blocks, &pem.Block{Type: kind, Bytes: der})
	}
	return swapBlocks(name, mode, blocks...)
}

func swapBlocks(name string, mode os.FileMode, blocks ...*pem.Block) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone if all went well
	err = f.Chmod(mode)
	for _, block := range blocks {
		err = errors.Join(err, pem.Encode(f, block))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (s *signed) chain() [][]byte {
	if s.above == nil {
		return [][]byte{s.der}
	}
	return [][]byte{s.der, s.above}
}

func create(name string, mode os.FileMode, kind string, blocks ...[]byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	for _, der := range blocks {
		err = errors.Join(err, pem.Encode(f, &pem.Block{Type: kind, Bytes: der}))
	}
	return errors.Join(err, f.Close())
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
