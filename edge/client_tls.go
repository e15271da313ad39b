package edge

import (
	"crypto/tls"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/policy"
)

// Certificate chooses the certificate for a client, by the requested name and what the client supports. It
// must be safe for concurrent use, and may return another one on the next call.
type Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Application protocols, as in RFC 7301.
const (
	protoHTTP1 = "http/1.1"
	protoHTTP2 = "h2"
)

// tlsConfig returns the listener's TLS configuration; nil if it has no certificates.
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

// clientTLS is what a client has shown in its TLS handshake. It is immutable.
type clientTLS struct {
	name    string // the requested server name (SNI), in lower case; empty: none
	subject string // of its verified certificate; empty: there is none
	altName string // the first alternative name of that; empty: none
}

// newClientTLS returns what was shown; nil: nothing that is needed.
func newClientTLS(state *tls.ConnectionState) *clientTLS {
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

// misdirected reports whether a client's server name by TLS differs from its request's, and the two are routed
// differently: a client admitted under one name must not reach another's.
func (s *clientTLS) misdirected(l *boundListener, h *requestInfo, r *boundRoute) bool {
	if s == nil || s.name == "" || strings.EqualFold(s.name, h.host) {
		return false
	}
	return plainHost(h.host) != s.name && l.routes.match(s.name, h.path) != r
}
