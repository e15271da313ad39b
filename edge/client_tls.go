package edge

import (
	"crypto/tls"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/policy"
)

// Certificate chooses the certificate that a client is shown, by the name it asks for
// and by what it understands. It may be called at once by many, and may answer
// otherwise from one call to the next.
type Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Application protocols, as RFC 7301 names them.
const (
	protoHTTP1 = "http/1.1"
	protoHTTP2 = "h2"
)

// tlsConfig is what the listener's policy says, for its certificates; nil if it has none.
func (l *Listener) tlsConfig() *tls.Config {
	if l.Certificate == nil {
		return nil
	}
	cfg := &tls.Config{GetCertificate: l.Certificate, MinVersion: l.TLSPolicy.Version(), CipherSuites: l.TLSPolicy.Suites(), NextProtos: []string{protoHTTP2, protoHTTP1}}
	if l.ClientCerts.Authorities != nil {
		cfg.ClientCAs, cfg.ClientAuth = l.ClientCerts.Authorities, tls.RequireAndVerifyClientCert
		if l.ClientCerts.Optional {
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
		}
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.VerifiedChains) == 0 {
				return nil
			}
			_, err := policy.Subject(state.PeerCertificates[0].RawSubject)
			return err
		}
	}
	if l.Tickets != nil {
		l.Tickets.use(cfg, l.ClientCerts.Binding)
	}
	return cfg
}

// clientTLS is what a client has shown in its TLS handshake. It does not change after that.
type clientTLS struct {
	name    string // the server that it asked for (SNI), in lower case; empty: none
	subject string // of its certificate, if that was verified; empty: it has shown none
	altName string // the same of the first alternative name; empty also: it has none
}

// newClientTLS returns what was shown; nil: nothing of which anybody wants to know.
func newClientTLS(secure *tls.Conn) *clientTLS {
	state := secure.ConnectionState()
	s := clientTLS{name: plainHost(state.ServerName)}
	if len(state.VerifiedChains) > 0 {
		cert := state.PeerCertificates[0]
		s.subject, _ = policy.Subject(cert.RawSubject) // an error has ended the handshake
		s.altName = policy.AltName(cert)
	}
	if s == (clientTLS{}) {
		return nil
	}
	return &s
}

// misdirected reports whether a client asked for another server by TLS than by its request, and
// the two are routed differently: who has been let in by one name must not get at another.
func (s *clientTLS) misdirected(l *boundListener, h *requestInfo, r *boundRoute) bool {
	if s == nil || s.name == "" || strings.EqualFold(s.name, h.host) {
		return false
	}
	return plainHost(h.host) != s.name && l.routes.match(s.name, h.path) != r
}

// looksLikeHTTP reports whether a client speaks HTTP where TLS is spoken.
func looksLikeHTTP(first [5]byte) bool {
	for _, c := range first {
		if c != ' ' && c != '/' && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
