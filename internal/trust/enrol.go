package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// Agents that are many get their certificates from a master, by a token at first and then by the certificate
// that they have. These are the agent's side of that, and what both sides' TLS has for it; Signer is the master's.

// enrolProtocol is what an agent offers by ALPN to get a certificate. A master that signs none does not
// agree to it.
const enrolProtocol = "evenkeel-enrol"

// Key is a private key that waits for its certificate, in a file of its own.
type Key struct {
	key  *ecdsa.PrivateKey
	file string
}

// OpenKey reads the key that an attempt which broke off has left in a file, or makes one that only the
// file's owner can read. A master that has signed the key already knows it again.
func OpenKey(file string) (*Key, error) {
	if der, err := readPEM(file, "PRIVATE KEY"); err == nil {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if key, ok := parsed.(*ecdsa.PrivateKey); err == nil && ok && key.Curve == elliptic.P256() {
			return &Key{key, file}, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Key{key, file}, swap(file, 0o600, "PRIVATE KEY", der)
}

// Request returns what is to be signed: a certificate request without a name.
func (k *Key) Request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.key)
}

// Finish puts a certificate, what stands between it and the authority, and the key behind them into one
// file, at once, so that no reader finds one without the other; then it removes the key's own. A
// certificate that is for another key or another owner is refused.
func (k *Key) Finish(chain [][]byte, who Identity, file string) error {
	if len(chain) == 0 {
		return errors.New("the master has sent no certificate")
	}
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("the certificate that the master has sent: %w", err)
	}
	if !k.key.PublicKey.Equal(cert.PublicKey) {
		return errors.New("the certificate that the master has sent is for another key")
	}
	switch got, err := IdentityOf(cert); {
	case err != nil:
		return err
	case got != who:
		return fmt.Errorf("the certificate that the master has sent is for %s, want %s", got, who)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return err
	}
	blocks := make([]*pem.Block, 0, len(chain)+1)
	for _, c := range chain {
		blocks = append(blocks, &pem.Block{Type: "CERTIFICATE", Bytes: c})
	}
	if err := swapBlocks(file, 0o600, append(blocks, &pem.Block{Type: "PRIVATE KEY", Bytes: der})...); err != nil {
		return err
	}
	return os.Remove(k.file)
}

// WriteAuthority puts an authority's certificate into a file.
func WriteAuthority(file string, authority *x509.Certificate) error {
	return swap(file, 0o644, "CERTIFICATE", authority.Raw)
}

// errNoEnrolment is the error of a master that did not agree to the protocol.
var errNoEnrolment = errors.New("this master signs no agents' certificates: it needs master.enrol, with an issuer of evenkeel certs issuer")

// IsNoEnrolment reports whether an error is of a master that signs no agents' certificates.
func IsNoEnrolment(err error) bool { return errors.Is(err, errNoEnrolment) }

// SecureByFingerprint makes a connection to a master private, and returns its authority, whose SHA-256
// is the fingerprint. The master is judged within the handshake: what does not come from that authority, or is no
// master, gets nothing but the handshake. denied is a list as Files.Denied; nil denies no one.
func SecureByFingerprint(ctx context.Context, conn net.Conn, fingerprint string, denied *Denylist) (*tls.Conn, *x509.Certificate, error) {
	var authority *x509.Certificate
	secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{enrolProtocol}, InsecureSkipVerify: true, // judged below
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			if cs.NegotiatedProtocol != enrolProtocol {
				return errNoEnrolment
			}
			authority, err = masterBy(cs.PeerCertificates, fingerprint, denied)
			return err
		}})
	if err := secure.HandshakeContext(ctx); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			return nil, nil, refusef(Plaintext, "%s", plaintext(x509.ExtKeyUsageServerAuth, string(plain.RecordHeader[:])))
		}
		return nil, nil, err
	}
	return secure, authority, nil
}

// masterBy refuses a chain that does not lead from a master's certificate to the authority of a fingerprint,
// which is in the chain too.
func masterBy(shown []*x509.Certificate, fingerprint string, denied *Denylist) (*x509.Certificate, error) {
	i := slices.IndexFunc(shown, func(c *x509.Certificate) bool { return c.IsCA && Fingerprint(c.Raw) == fingerprint })
	if i < 0 {
		return nil, refusef(UnknownAuthority, "this master's authority is not the one that the token names (sha256 %s): it is none of ours, or the token was made by another installation", fingerprint)
	}
	only := &credentials{roots: x509.NewCertPool(), denied: denied}
	only.roots.AddCert(shown[i])
	chain, err := only.check(shown, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	who, err := IdentityOf(chain[0])
	if err != nil {
		return nil, refusef(Unfit, "%v", err)
	}
	return shown[i], who.Want(Master, "")
}

// SecureToRenew is Secure for an agent that wants another certificate in the place of the one it shows.
func (k *Keeper) SecureToRenew(ctx context.Context, conn net.Conn) (net.Conn, error) {
	secure, _, err := k.secure(ctx, conn, enrolProtocol)
	if err == nil && secure.ConnectionState().NegotiatedProtocol != enrolProtocol {
		err = errNoEnrolment
	}
	if secure == nil {
		return nil, err
	}
	return secure, err
}

// Enrol has Accept agree to the protocol of agents that want certificates. It is called before the first Accept.
func (k *Keeper) Enrol() { k.enrols.Store(true) }

// Enrols reports whether the peer of a connection that Accept has made private wants a certificate.
func Enrols(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return ok && secure.ConnectionState().NegotiatedProtocol == enrolProtocol
}

// enrolling returns the configuration for an agent that wants a certificate, nil for all others: it shows
// the authority too.
func (c *credentials) enrolling(hello *tls.ClientHelloInfo, usual *tls.Config) *tls.Config {
	if !slices.Contains(hello.SupportedProtos, enrolProtocol) {
		return nil
	}
	cert := c.cert
	if cert.Certificate = slices.Clone(cert.Certificate); !slices.ContainsFunc(cert.Certificate, func(der []byte) bool { return string(der) == string(c.root.Raw) }) {
		cert.Certificate = append(cert.Certificate, c.root.Raw)
	}
	cfg := usual.Clone()
	cfg.GetConfigForClient, cfg.Certificates, cfg.NextProtos = nil, []tls.Certificate{cert}, []string{enrolProtocol}
	return cfg
}
