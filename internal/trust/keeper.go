package trust

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Files are where a component's certificate is, all PEM.
type Files struct {
	Cert string // its own, and whatever stands between that and the authority
	Key  string // the private key of it
	CA   string // the authorities that our components' certificates come from

	Denied string // who is denied although their certificates are good; empty: no one is
}

// Keeper holds a component's certificate and its certificate authorities, and reloads them when the files
// change. Its methods may be called from any goroutine.
type Keeper struct {
	files   Files
	log     *slog.Logger
	current atomic.Pointer[credentials]

	guards     guards
	statements statements
	enrols     atomic.Bool // Accept agrees to the protocol of agents that want certificates

	mu   sync.Mutex // one reading at a time; guards the following
	seen Contents   // of the files when they were last tried
}

// credentials are immutable.
type credentials struct {
	cert     tls.Certificate
	identity Identity
	roots    *x509.CertPool
	denied   *denied
	root     *x509.Certificate // of the authority that stands behind cert
	issued   bool              // by an issuer, not by the authority itself
	begins   time.Time
	ends     time.Time
	life     time.Duration // from its beginning to its end
}

// lookEvery is how often Run looks at the files.
const lookEvery = 5 * time.Second

// Stage returns how urgent it is to renew a certificate of which so much of its life is left: 0 is not at all,
// 3 the most. That is with a month, a week and a day left; of one that lives for less than two months, with a
// quarter, an eighth and a sixteenth of its life.
func Stage(left, life time.Duration) int {
	const day = 24 * time.Hour
	stage := 0
	for i, limit := range []time.Duration{min(30*day, life/4), min(7*day, life/8), min(day, life/16)} {
		if left < limit {
			stage = i + 1
		}
	}
	return stage
}

// Exposed returns what to say of a key that others than its owner and its group may read; empty: none may.
func Exposed(keyFile string) string {
	info, err := os.Stat(keyFile)
	if err != nil || info.Mode().Perm()&0o007 == 0 || runtime.GOOS == "windows" {
		return ""
	}
	return fmt.Sprintf("every user of this machine may read the key %s (mode %04o): chmod o= %s", keyFile, info.Mode().Perm(), keyFile)
}

// Open reads the files, which must fit each other.
func Open(files Files, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{files: files, log: log}
	_, err := k.take()
	return k, err
}

// Ends returns when the component's certificate, or one between it and the authority, comes to its end, as
// metrics have it: in seconds since 1970; zero for a nil Keeper.
func (k *Keeper) Ends() float64 {
	if k == nil {
		return 0
	}
	return float64(k.current.Load().ends.Unix())
}

// Renewal returns when half of the life of a certificate is over that an issuer has signed, and so a master
// can renew; false: the holder of the authority's key must renew it.
func (k *Keeper) Renewal() (half time.Time, ok bool) {
	c := k.current.Load()
	return c.begins.Add(c.ends.Sub(c.begins) / 2), c.issued
}

// Life returns for how long the certificate was made, and when it ends.
func (k *Keeper) Life() (life time.Duration, ends time.Time) {
	c := k.current.Load()
	return c.life, c.ends
}

// Identity is who this component is. It never changes.
func (k *Keeper) Identity() Identity { return k.current.Load().identity }

// Reload reads the files. If they are invalid the old certificate stays in use.
func (k *Keeper) Reload() error {
	_, err := k.take()
	return err
}

// Run takes up files that have changed, until ctx ends, and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	if exposed := Exposed(k.files.Key); exposed != "" {
		k.log.Warn(exposed)
	}
	warned := 0
	for {
		c := k.current.Load()
		if stage := Stage(time.Until(c.ends), c.life); stage != warned {
			if stage > warned {
				k.log.Warn(c.endsSoon(), "file", k.files.Cert, "ends", c.ends)
			}
			warned = stage
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if changed, err := k.take(); err != nil {
			k.log.Error("the new certificate files are invalid; the old certificate stays in use", "err", err)
		} else if changed {
			k.log.Info("new certificate taken up", "file", k.files.Cert, "ends", k.current.Load().ends)
		}
	}
}

// take reads the files and, if they have changed since they were last tried, uses them.
func (k *Keeper) take() (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.seen.Changed(k.files.Cert, k.files.Key, k.files.CA, k.files.Denied) {
		return false, nil
	}
	next, err := k.files.load()
	if err != nil {
		return false, err
	}
	if had := k.current.Load(); had != nil && had.identity != next.identity {
		return false, fmt.Errorf("%s is for %s now, but this process is %s: restart it to take that up", k.files.Cert, next.identity, had.identity)
	}
	k.current.Store(next)
	k.judgeAll()
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
	if f.Denied != "" {
		list, err := os.ReadFile(f.Denied)
		if err != nil {
			return nil, fmt.Errorf("list of the denied: %w", err)
		}
		if c.denied, err = readDenied(list); err != nil {
			return nil, fmt.Errorf("list of the denied %s: %w", f.Denied, err)
		}
	}
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, parsed)
		}
	}
	verified, err := c.check(chain, identity.usage())
	if err != nil {
		return nil, fmt.Errorf("certificate %s, by the authorities in %s: %w", f.Cert, f.CA, err)
	}
	c.root, c.issued = verified[len(verified)-1], byIssuer(verified)
	c.ends, c.life = ends(verified), lifeOf(cert.Leaf)
	c.begins = cert.Leaf.NotAfter.Add(-c.life)
	return c, nil
}

// usage is what a role's certificate must be good for: a master's for being connected to.
func (i Identity) usage() x509.ExtKeyUsage {
	if i.Role == Master {
		return x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageClientAuth
}

// check refuses a chain that our authorities do not stand behind, or whose owner is denied. It returns
// the chain by which it was verified, from the component's certificate to the authority's: what a peer shows
// may hold more, in any order.
func (c *credentials) check(shown []*x509.Certificate, usage x509.ExtKeyUsage) (chain []*x509.Certificate, err error) {
	return c.checkAt(shown, usage, time.Time{})
}

// checkAt is check of what was valid at a time; zero: now.
func (c *credentials) checkAt(shown []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time) (chain []*x509.Certificate, err error) {
	if len(shown) == 0 {
		return nil, refusef(NoCertificate, "no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		for _, chain = range chains {
			if err = cmp.Or(judgeIssuers(chain), c.denied.judge(chain)); err == nil {
				return chain, nil
			}
		}
		return nil, err
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		late := shown[0]
		if cert := invalid.Cert; cert != nil {
			late = cert
		}
		return nil, refusef(Expired, "the certificate is valid from %s to %s, and that is not %s", late.NotBefore.UTC().Format(time.RFC3339), late.NotAfter.UTC().Format(time.RFC3339), whenever(at))
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return nil, refusef(UnknownAuthority, "the certificate comes from an authority that is not trusted here (issuer %s)", shown[0].Issuer)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return nil, refusef(WrongRole, "the certificate is of the wrong kind: %v", err)
	}
	return nil, refusef(Unfit, "the certificate is unfit: %v", err)
}

// whenever is a time in words; zero is now.
func whenever(at time.Time) string {
	if at.IsZero() {
		return "now"
	}
	return at.UTC().Format(time.RFC3339)
}

// Accept makes a connection that was accepted private and returns who is at its other
// end. The connection is usable for a last word even with a *Refusal, unless it is nil.
func (k *Keeper) Accept(ctx context.Context, conn net.Conn) (*tls.Conn, *Peer, error) {
	c := k.current.Load()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.cert},
		ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true} // what the peer shows is judged below, where it can be told why
	if k.enrols.Load() {
		usual := cfg.Clone()
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return c.enrolling(hello, usual), nil }
	}
	return c.meet(ctx, tls.Server(conn, cfg), x509.ExtKeyUsageClientAuth)
}

// Secure makes a connection to a master private. The connection is usable for a last
// word even with a *Refusal, unless it is nil.
func (k *Keeper) Secure(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error) {
	secure, peer, err := k.secure(ctx, conn)
	if secure == nil {
		return nil, nil, err
	}
	return secure, peer, err
}

func (k *Keeper) secure(ctx context.Context, conn net.Conn, protocols ...string) (*tls.Conn, *Peer, error) {
	c := k.current.Load()
	secure, peer, err := c.meet(ctx, tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.cert}, NextProtos: protocols,
		InsecureSkipVerify: true}), x509.ExtKeyUsageServerAuth) // a host name proves nothing here; the identity is judged below
	if err == nil {
		err = peer.Want(Master, "")
	}
	return secure, peer, err
}

// endsSoon is what to say of the component's certificate when not much of its life is left.
func (c *credentials) endsSoon() string {
	if c.issued {
		return "the certificate ends soon, and no master has renewed it"
	}
	return "the certificate ends soon: evenkeel certs renew makes another"
}

// plaintext says what to do about a peer that answers to TLS with other bytes. usage is what its
// certificate would have been for.
func plaintext(usage x509.ExtKeyUsage, first string) string {
	const give = "by tls: { cert, key, ca }"
	switch {
	case usage == x509.ExtKeyUsageClientAuth:
		return "it speaks no TLS, and this master wants nothing else: give the edge or agent a certificate, " + give
	case strings.HasPrefix(first, "HTTP/"):
		return "it speaks HTTP, not TLS: edges and agents connect to where a master listens for them (its listen, by default port 7400), not to its admin address"
	}
	return "it speaks no TLS, and this process wants it, for it has a certificate: give the master one too, " + give
}

func (c *credentials) meet(ctx context.Context, secure *tls.Conn, usage x509.ExtKeyUsage) (*tls.Conn, *Peer, error) {
	if err := secure.HandshakeContext(ctx); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			return nil, nil, refusef(Plaintext, "%s", plaintext(usage, string(plain.RecordHeader[:])))
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, nil, refusef(BrokenHandshake, "TLS: no answer in time: is this an address where our components listen?")
		}
		return nil, nil, refusef(BrokenHandshake, "TLS: %v", err)
	}
	chain, err := c.check(secure.ConnectionState().PeerCertificates, usage)
	if err != nil {
		return secure, nil, err
	}
	who, err := SubjectOf(chain[0])
	if err != nil {
		return secure, nil, refusef(Unfit, "%v", err)
	}
	return secure, &Peer{Subject: who, Ends: ends(chain), Serial: serialOf(chain[0]), chain: chain, usage: usage}, nil
}
