package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

// Certificate is what people are told of one.
type Certificate struct {
	Owner string // of a component: its role and name; of an authority: its name
	Bounds
	Serial, Fingerprint string
	By                  string // who has signed it
	From, Ends          time.Time
	Life                time.Duration // for which it was made
	HasKey              bool          // its key is in the same file, as of an agent that has enrolled

	subject *Subject // nil: it is an authority's
	issuer  *Issuer  // nil: it is not an issuer's
}

// ReadCertificate reads the first certificate of a file.
func ReadCertificate(file string) (*Certificate, error) {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := &Certificate{HasKey: hasKey(file), Owner: cert.Subject.CommonName, Serial: serialOf(cert), Fingerprint: Fingerprint(der), By: cert.Issuer.CommonName,
		From: cert.NotBefore, Ends: cert.NotAfter, Life: cert.NotAfter.Sub(cert.NotBefore.Add(backdate))}
	if issuer, ok := issuerOf(cert); ok {
		c.issuer, c.Bounds = &issuer, issuer.Bounds
		return c, nil
	}
	if cert.IsCA {
		return c, nil
	}
	who, err := SubjectOf(cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c.Owner, c.Bounds, c.subject = who.String(), who.Bounds, &who
	return c, nil
}

// hasKey reports whether a private key stands in a file, behind certificates.
func hasKey(file string) bool {
	text, _ := os.ReadFile(file) // one that cannot be read has none for us
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "PRIVATE KEY" {
			return true
		}
	}
	return false
}

// Renew makes another certificate and key for the owner of one, and puts them in the place of the files'.
func (a *Authority) Renew(old *Certificate, now time.Time, life time.Duration, certFile, keyFile string) error {
	if old.issuer != nil {
		return a.IssueIssuer(*old.issuer, now, life, certFile, keyFile, true)
	}
	if old.subject == nil {
		return fmt.Errorf("%s: it is an authority's own, which cannot be renewed: evenkeel certs init --dir FOLDER makes another", certFile)
	}
	made, err := a.makeComponent(*old.subject, now, life)
	if err != nil {
		return err
	}
	return made.replace(certFile, keyFile)
}

// Life is a time for people, in days if it is some.
func Life(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day && d.Round(time.Hour)%day == 0 || d >= 10*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= day:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return d.Round(time.Second).String()
}

// Fingerprint is how people compare certificates: SHA-256 over one, in hexadecimal.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
