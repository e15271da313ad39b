package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Signer signs certificates of agents for a master, by an issuer that the master's own authority has made. The issuer's files are reloaded
// when they change. Methods may be called from any goroutine.
type Signer struct {
	cert, key string // files
	keeper    *Keeper
	log       *slog.Logger
	current   atomic.Pointer[Authority]

	mu   sync.Mutex // one reading at a time; guards the following
	seen Contents   // of the files when they were last tried
}

// OpenSigner reads an issuer's files.
func OpenSigner(certFile, keyFile string, k *Keeper, log *slog.Logger) (*Signer, error) {
	s := &Signer{cert: certFile, key: keyFile, keeper: k, log: log}
	_, err := s.take()
	return s, err
}

// Reload reads the files. If they are invalid the old issuer stays in use.
func (s *Signer) Reload() error {
	_, err := s.take()
	return err
}

// Run takes up files that have changed, and warns of an issuer that ends soon, until ctx ends; it returns nil.
func (s *Signer) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	if exposed := Exposed(s.key); exposed != "" {
		s.log.Warn(exposed)
	}
	warned := 0
	for {
		cert := s.current.Load().cert
		if stage := Stage(time.Until(cert.NotAfter), lifeOf(cert)); stage != warned {
			if stage > warned {
				s.log.Warn("the issuer of agents' certificates ends soon, and they end with it: evenkeel certs renew makes another, where ca.key is", "file", s.cert, "ends", cert.NotAfter)
			}
			warned = stage
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if changed, err := s.take(); err != nil {
			s.log.Error("the new issuer's files are invalid; the old issuer stays in use", "err", err)
		} else if changed {
			s.log.Info("new issuer taken up", "file", s.cert, "ends", s.current.Load().cert.NotAfter)
		}
	}
}

func (s *Signer) take() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.seen.Changed(s.cert, s.key) {
		return false, nil
	}
	a, err := OpenIssuer(s.cert, s.key)
	if err != nil {
		return false, err
	}
	if err := s.keeper.current.Load().stands(a.cert); err != nil {
		return false, fmt.Errorf("issuer %s: %w", s.cert, err)
	}
	s.current.Store(a)
	return true, nil
}

// stands refuses an issuer behind which our own authority does not stand now. An agent learns one authority, ours, so
// one that another of the authorities we trust has made will not do.
func (c *credentials) stands(issuer *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(c.root)
	chains, err := issuer.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("it does not come from the authority of this master's own certificate, %s, or has ended: %w", c.root.Subject.CommonName, err)
	}
	return c.denied.judge(chains[0])
}

// Ends returns when the issuer ends, in seconds since 1970; zero for a nil Signer.
func (s *Signer) Ends() float64 {
	if s == nil {
		return 0
	}
	return float64(s.current.Load().cert.NotAfter.Unix())
}

// Pools returns those for whose agents the issuer signs.
func (s *Signer) Pools() []string {
	issuer, _ := issuerOf(s.current.Load().cert)
	return issuer.Pools
}

// Authority is the fingerprint of the authority that an agent has to find behind the master.
func (s *Signer) Authority() string { return Fingerprint(s.keeper.current.Load().root.Raw) }

// Request is a certificate request whose signature is good: its sender has the key. All else that stands in it
// counts for nothing.
type Request struct{ key *ecdsa.PublicKey }

// ReadRequest reads one.
func ReadRequest(der []byte) (*Request, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, refusef(Unfit, "the certificate request: %v", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, refusef(Unfit, "the certificate request has another key than ECDSA on P-256")
	}
	return &Request{key}, nil
}

// Mark tells an agent that asks again from another: it is of the key and the name.
func (r *Request) Mark(name string) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(r.key)
	sum := sha256.Sum256(append(der, name...))
	return hex.EncodeToString(sum[:16]), err
}

// Issued is a certificate that a Signer has made.
type Issued struct {
	Chain  [][]byte // in DER, the agent's first
	Serial string
	Ends   time.Time
}

// shortestLife is what a certificate must have before it to be worth signing.
const shortestLife = 2 * time.Second

// Judge refuses an agent that the issuer may not sign for, and everyone when the issuer has ended or is denied.
func (s *Signer) Judge(who Subject, now time.Time) error {
	a := s.current.Load()
	if err := s.keeper.current.Load().stands(a.cert); err != nil {
		return err
	}
	if a.cert.NotAfter.Sub(now) < shortestLife {
		return errors.New("this master's issuer ends: evenkeel certs renew makes another, where ca.key is")
	}
	issuer, _ := issuerOf(a.cert)
	return issuer.judge(who)
}

// JudgePool refuses a pool for whose agents the issuer may not sign.
func (s *Signer) JudgePool(pool string) error {
	return s.Judge(Subject{Identity: Identity{Agent, "any"}, Bounds: Bounds{Pools: []string{pool}}}, time.Now())
}

// Sign makes a certificate for the key of a request. It ends with the issuer at the latest.
func (s *Signer) Sign(who Subject, r *Request, now time.Time, life time.Duration) (*Issued, error) {
	if err := s.Judge(who, now); err != nil {
		return nil, err
	}
	a := s.current.Load()
	template := componentTemplate(who, now, life)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	var err error
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, r.key, a.key)
	return &Issued{Chain: [][]byte{der, a.cert.Raw}, Serial: serialOf(template), Ends: template.NotAfter}, err
}

// lifeOf is for how long a certificate was made.
func lifeOf(cert *x509.Certificate) time.Duration {
	life := cert.NotAfter.Sub(cert.NotBefore)
	if life > backdate {
		life -= backdate
	}
	return life
}
