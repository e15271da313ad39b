package trust

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A statement is what a component has said, with a proof that others can carry: they may lose it, and
// can change nothing of it. TLS proves who is at the other end of a connection, and so proves nothing of
// what that one passes on.

// MostProof bounds the proof of a statement, in bytes. One by a certificate of our own authority has about 700.
const MostProof = 8 << 10

// proof is what stands in a statement's proof, in DER.
type proof struct {
	Chain     [][]byte // certificates: the component's, and what stands between that and the authority
	Signature []byte
}

// statements remembers the chain that proved the last statement, since many by one component come together.
type statements struct {
	mu    sync.Mutex
	last  string // the chain's certificates, one behind the other
	by    *credentials
	chain []*x509.Certificate
}

// statement is what is signed. No TLS handshake signs what begins so.
func statement(kind string, message []byte) []byte {
	return append([]byte("evenkeel "+kind+"\x00"), message...)
}

// SignStatement returns the proof that this component has said message, as a statement of a kind.
func (k *Keeper) SignStatement(kind string, message []byte) ([]byte, error) {
	c := k.current.Load()
	key, ok := c.cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key %s cannot sign", k.files.Key)
	}
	said := statement(kind, message)
	hash := sha256.Sum256(said)
	signed, opts := hash[:], crypto.SignerOpts(crypto.SHA256)
	switch key.Public().(type) {
	case *rsa.PublicKey:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case ed25519.PublicKey:
		signed, opts = said, crypto.Hash(0)
	}
	signature, err := key.Sign(rand.Reader, signed, opts)
	if err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(proof{c.cert.Certificate, signature})
	if err == nil && len(der) > MostProof {
		err = fmt.Errorf("the certificates in %s are too long for a proof: %d bytes with the signature, at most %d", k.files.Cert, len(der), MostProof)
	}
	return der, err
}

// VerifyStatement returns a *Refusal unless a proof shows that a master has said message at a time. Its
// certificate must have been valid then: a statement outlives it. It must not be denied now.
func (k *Keeper) VerifyStatement(kind string, message, der []byte, at time.Time) error {
	if len(der) == 0 {
		return refusef(NoCertificate, "nothing proves that a master has said it")
	}
	var p proof
	if rest, err := asn1.Unmarshal(der, &p); err != nil || len(rest) > 0 || len(der) > MostProof {
		return refusef(Unfit, "the proof cannot be read: %v", cmp.Or(err, errors.New("it is too long")))
	}
	chain, err := k.statements.verify(k.current.Load(), p.Chain, at)
	if err != nil {
		return err
	}
	algorithm := x509.ECDSAWithSHA256
	switch chain[0].PublicKey.(type) {
	case *rsa.PublicKey:
		algorithm = x509.SHA256WithRSAPSS
	case ed25519.PublicKey:
		algorithm = x509.PureEd25519
	}
	if err := chain[0].CheckSignature(algorithm, statement(kind, message), p.Signature); err != nil {
		return refusef(Unfit, "the signature is not of what is said: %v", err)
	}
	who, err := IdentityOf(chain[0])
	if err != nil {
		return refusef(Unfit, "%v", err)
	}
	return who.Want(Master, "")
}

// verify returns the verified chain of the certificates that a proof has.
func (s *statements) verify(c *credentials, ders [][]byte, at time.Time) ([]*x509.Certificate, error) {
	var all []byte
	for _, der := range ders {
		all = append(all, der...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == c && s.last == string(all) && !at.Before(begins(s.chain)) && !at.After(ends(s.chain)) {
		return s.chain, nil
	}
	var shown []*x509.Certificate
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, refusef(Unfit, "a certificate of the proof cannot be read: %v", err)
		}
		shown = append(shown, cert)
	}
	chain, err := c.checkAt(shown, Identity{Role: Master}.usage(), at)
	if err != nil {
		return nil, err
	}
	s.last, s.by, s.chain = string(all), c, chain
	return chain, nil
}

// begins returns when all of a chain is valid from.
func begins(chain []*x509.Certificate) (from time.Time) {
	for _, cert := range chain {
		if cert.NotBefore.After(from) {
			from = cert.NotBefore
		}
	}
	return from
}
