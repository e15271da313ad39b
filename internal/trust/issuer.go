package trust

import (
	"crypto/x509"
	"net/url"
	"strings"
	"time"
)

// Issuer is an intermediate authority that signs for agents of its pools, for components to be added
// where the authority's own key is not. It signs no other authority.
type Issuer struct {
	Name string
	Bounds
}

// judge refuses subjects that the issuer may not sign for.
func (i Issuer) judge(who Subject) error {
	switch {
	case who.Role != Agent:
		return refusef(WrongRole, "the certificate is for %s, and %s signs for agents alone", who.Identity, i)
	case !who.within(&i.Bounds):
		return refusef(WrongPool, "the certificate of %s is for pools %v, and %s signs for %v alone", who.Identity, who.Pools, i, i.Pools)
	}
	return nil
}

// judgeIssuers refuses a certificate that an issuer has signed and that goes beyond what that one may sign.
// The chain has been verified, so the path length, the usage and the host of the URI, which is the role,
// are right. Authorities that operators have put between ours and components are as good as ours.
func judgeIssuers(chain []*x509.Certificate) error {
	for _, cert := range chain[1:] {
		issuer, ok := issuerOf(cert)
		if !ok {
			continue
		}
		who, err := SubjectOf(chain[0])
		if err != nil {
			return refusef(Unfit, "%v", err)
		}
		if err := issuer.judge(who); err != nil {
			return err
		}
	}
	return nil
}

// byIssuer reports whether an issuer has signed for the owner of a chain that was verified.
func byIssuer(chain []*x509.Certificate) bool {
	_, ok := issuerOf(chain[min(1, len(chain)-1)])
	return ok
}

// ByIssuer reports whether an issuer has signed the peer's certificate, and not the authority itself.
func (p *Peer) ByIssuer() bool { return byIssuer(p.chain) }

// issuerScheme is apart from that of components, so that an issuer's certificate is no component's.
const issuerScheme = "evenkeel-issuer"

// URI is the issuer as a certificate has it.
func (i Issuer) URI() *url.URL {
	return &url.URL{Scheme: issuerScheme, Host: string(Agent), Path: "/" + i.Name, RawQuery: i.query()}
}

// String is the issuer for people.
func (i Issuer) String() string { return "issuer " + i.Name }

// issuerOf reads which issuer's a certificate is. One whose bounds are not understood may
// sign for no pool.
func issuerOf(cert *x509.Certificate) (Issuer, bool) {
	for _, u := range cert.URIs {
		if u.Scheme == issuerScheme {
			b, err := boundsOf(u)
			if err != nil || len(b.Pools) == 0 {
				b = Bounds{Pools: []string{""}}
			}
			return Issuer{strings.TrimPrefix(u.Path, "/"), b}, true
		}
	}
	return Issuer{}, false
}

// ends returns when the first certificate of a chain ends.
func ends(chain []*x509.Certificate) time.Time {
	first := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	return first
}
