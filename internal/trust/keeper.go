package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are where a component's certificate is, all PEM.
type Files struct {
	Cert string // its own, and whatever stands between that and the authority
	Key  string // the private key of it
	CA   string // the authorities that our components' certificates come from
}

// Keeper holds a component's certificate and its authorities, and reads them anew when
// the files change. Its methods may be called from any goroutine.
type Keeper struct {
	files   Files
	log     *slog.Logger
	current atomic.Pointer[credentials]

	mu   sync.Mutex // one reading at a time; guards the following
	seen [3][]byte  // what the files had when they were last tried
}

// credentials are immutable.
type credentials struct {
	cert     tls.Certificate
	identity Identity
	roots    *x509.CertPool
}

// lookEvery is how often Run looks at the files.
const lookEvery = 5 * time.Second

// warnBefore is how long before its end a certificate is complained of.
const warnBefore = 14 * 24 * time.Hour

// Open reads the files, which must fit each other.
func Open(files Files, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{files: files, log: log}
	_, err := k.take()
	return k, err
}

// Identity is who this component is. It never changes.
func (k *Keeper) Identity() Identity { return k.current.Load().identity }

// Reload reads the files. If they are bad the former certificate stays.
func (k *Keeper) Reload() error {
	_, err := k.take()
	return err
}

// Run takes up files that have changed, until ctx ends, and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	warned := time.Time{}
	for {
		if end := k.current.Load().cert.Leaf.NotAfter; time.Until(end) < warnBefore && time.Since(warned) > 24*time.Hour {
			warned = time.Now()
			k.log.Warn("the certificate ends soon: evenkeel certs issue makes another", "file", k.files.Cert, "ends", end)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if changed, err := k.take(); err != nil {
			k.log.Error("new certificate files are bad; the former certificate stays", "err", err)
		} else if changed {
			k.log.Info("new certificate taken up", "file", k.files.Cert, "ends", k.current.Load().cert.Leaf.NotAfter)
		}
	}
}

// take reads the files and, if they have changed since they were last tried, uses them.
func (k *Keeper) take() (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var now [3][]byte
	for i, name := range []string{k.files.Cert, k.files.Key, k.files.CA} {
		if now[i], err = os.ReadFile(name); err != nil {
			now[i] = []byte(err.Error())
		}
	}
	if k.current.Load() != nil && bytes.Equal(now[0], k.seen[0]) && bytes.Equal(now[1], k.seen[1]) && bytes.Equal(now[2], k.seen[2]) {
		return false, nil
	}
	k.seen = now
	next, err := k.files.load()
	if err != nil {
		return false, err
	}
	if had := k.current.Load(); had != nil && had.identity != next.identity {
		return false, fmt.Errorf("%s is for %s now, but this process is %s: restart it to take that up", k.files.Cert, next.identity, had.identity)
	}
	k.current.Store(next)
	return true, nil
}

func (f Files) load() (*credentials, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	authorities, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("authorities %s: no certificate in it, want PEM", f.CA)
	}
	identity, err := IdentityOf(cert.Leaf)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
	}
	c := &credentials{cert: cert, identity: identity, roots: roots}
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, parsed)
		}
	}
	if err := c.check(chain, identity.usage()); err != nil {
		return nil, fmt.Errorf("certificate %s, by the authorities in %s: %w", f.Cert, f.CA, err)
	}
	return c, nil
}

// usage is what a role's certificate must be good for: a master's for being connected to.
func (i Identity) usage() x509.ExtKeyUsage {
	if i.Role == Master {
		return x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageClientAuth
}

// check refuses a chain that our authorities do not vouch for.
func (c *credentials) check(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return refusef(NoCertificate, "no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refusef(Expired, "the certificate is valid from %s to %s, and that is not now", chain[0].NotBefore.UTC().Format(time.RFC3339), chain[0].NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return refusef(UnknownAuthority, "the certificate comes from an authority that is not trusted here (issuer %s)", chain[0].Issuer)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return refusef(WrongRole, "the certificate is of the wrong kind: %v", err)
	}
	return refusef(Unfit, "the certificate is unfit: %v", err)
}

// Accept makes a connection that was accepted private and returns who is at its other
// end. The connection is usable for a last word even with a *Refusal, unless it is nil.
func (k *Keeper) Accept(ctx context.Context, conn net.Conn) (*tls.Conn, Identity, error) {
	c := k.current.Load()
	secure := tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.cert},
		ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}) // what the peer shows is judged below, where it can be told why
	return c.meet(ctx, secure, x509.ExtKeyUsageClientAuth)
}

// Secure makes a connection to a master private. The connection is usable for a last
// word even with a *Refusal, unless it is nil.
func (k *Keeper) Secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	c := k.current.Load()
	secure, peer, err := c.meet(ctx, tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.cert},
		InsecureSkipVerify: true}), x509.ExtKeyUsageServerAuth) // a host name proves nothing here; the identity is judged below
	if err == nil {
		err = peer.Want(Master, "")
	}
	if secure == nil {
		return nil, err
	}
	return secure, err
}

func (c *credentials) meet(ctx context.Context, secure *tls.Conn, usage x509.ExtKeyUsage) (*tls.Conn, Identity, error) {
	if err := secure.HandshakeContext(ctx); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			return nil, Identity{}, refusef(Plaintext, "it speaks no TLS, and nothing else is spoken here: give it a certificate, by tls: { cert, key, ca }")
		}
		return nil, Identity{}, refusef(BrokenHandshake, "TLS: %v", err)
	}
	chain := secure.ConnectionState().PeerCertificates
	if err := c.check(chain, usage); err != nil {
		return secure, Identity{}, err
	}
	peer, err := IdentityOf(chain[0])
	if err != nil {
		return secure, Identity{}, refusef(Unfit, "%v", err)
	}
	return secure, peer, nil
}
