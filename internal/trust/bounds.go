package trust

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AnyPool in a certificate's pools stands for all.
const AnyPool = "*"

// Bounds is where a certificate allows its owner to speak. They stand behind the name in its
// URI: evenkeel://agent/r1?address=10.0.0.0%2F8&pool=web. A master can narrow them, never widen them.
type Bounds struct {
	Pools     []string       // in which an agent may register its server, or an edge ask; empty: the certificate names none
	Addresses []netip.Prefix // in which an agent's server must be; empty: the certificate names none
	From      []netip.Prefix // from which its owner may connect; empty: from anywhere
}

// AllowsPool reports whether the certificate lets its owner speak in a pool. One that names no
// pools leaves that to the master's configuration.
func (b *Bounds) AllowsPool(pool string) bool {
	return len(b.Pools) == 0 || slices.Contains(b.Pools, AnyPool) || slices.Contains(b.Pools, pool)
}

// JudgeOrigin refuses the owner of a certificate that connects from elsewhere than it may. An invalid address is
// that of a unix socket, which lies in no prefix.
func (p *Peer) JudgeOrigin(from netip.Addr) error {
	if p == nil || len(p.From) == 0 || slices.ContainsFunc(p.From, func(prefix netip.Prefix) bool { return prefix.Contains(from) }) {
		return nil
	}
	return refusef(WrongAddress, "the certificate of %s is good for connections from %v, and this one comes from %v", p.Identity, p.From, from)
}

// within reports whether b allows nothing that outer forbids.
func (b *Bounds) within(outer *Bounds) bool {
	return len(b.Pools) > 0 && !slices.ContainsFunc(b.Pools, func(pool string) bool { return !outer.AllowsPool(pool) })
}

// query is the bounds as a URI has them.
func (b *Bounds) query() string {
	q := url.Values{}
	for _, pool := range b.Pools {
		q.Add("pool", pool)
	}
	for _, prefix := range b.Addresses {
		q.Add("address", prefix.String())
	}
	for _, prefix := range b.From {
		q.Add("from", prefix.String())
	}
	return q.Encode()
}

// boundsOf reads the part of a URI behind the name. What it does not know may be a restriction
// that a later release makes, so the certificate is refused then.
func boundsOf(u *url.URL) (b Bounds, err error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return b, fmt.Errorf("the certificate's name %q: %w", u, err)
	}
	for key, values := range q {
		switch key {
		case "pool":
			b.Pools = values
		case "address":
			b.Addresses, err = prefixesOf(values)
		case "from":
			b.From, err = prefixesOf(values)
		default:
			return b, fmt.Errorf("the certificate is bound by %q, which this release does not know", key)
		}
		if err != nil {
			return b, fmt.Errorf("the certificate's %s: %w", key, err)
		}
	}
	return b, nil
}

func prefixesOf(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		all = append(all, prefix)
	}
	return all, nil
}

// Subject is the owner of a certificate, and the pools and addresses that it may use.
type Subject struct {
	Identity
	Bounds
}

// URI is the subject as a certificate has it.
func (s *Subject) URI() *url.URL {
	u := s.Identity.URI()
	u.RawQuery = s.query()
	return u
}

// SubjectOf returns a certificate's Subject.
func SubjectOf(cert *x509.Certificate) (Subject, error) {
	u, err := nameOf(cert)
	if err != nil {
		return Subject{}, err
	}
	s := Subject{Identity: identityIn(u)}
	s.Bounds, err = boundsOf(u)
	return s, err
}

// Peer is the component at the other end of a connection, as its certificate has it. A nil Peer is
// one that has not had to prove anything.
type Peer struct {
	Subject
	Ends   time.Time // of the certificate; after it the peer is refused
	Serial string    // of the certificate, hexadecimal
	chain  []*x509.Certificate
	usage  x509.ExtKeyUsage // that the chain was judged for
}

// serialOf is a certificate's number as people write it.
func serialOf(cert *x509.Certificate) string { return strings.ToLower(cert.SerialNumber.Text(16)) }
