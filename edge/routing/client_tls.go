package routing

import (
	"crypto/tls"
	"strings"
)

// Certificate chooses the certificate for a client, by the requested name and what the client supports. It
// must be safe for concurrent use, and may return another one on the next call.
type Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Application protocols, as in RFC 7301.
const (
	ALPNHTTP1 = "http/1.1"
	ALPNHTTP2 = "h2"
)

// tlsConfig returns the listener's TLS configuration; nil if it has no certificates.
func (l *Listener) tlsConfig() *tls.Config {
	if l.Certificate == nil {
		return nil
	}
	cfg := &tls.Config{GetCertificate: l.Certificate, MinVersion: l.TLSPolicy.Version(), CipherSuites: l.TLSPolicy.Suites(), NextProtos: []string{ALPNHTTP2, ALPNHTTP1}}
	if l.ClientCerts.Authorities != nil {
		cfg.ClientCAs, cfg.ClientAuth = l.ClientCerts.Authorities, tls.RequireAndVerifyClientCert
		if l.ClientCerts.Optional {
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
		}
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.VerifiedChains) == 0 {
				return nil
			}
			_, err := Subject(state.PeerCertificates[0].RawSubject)
			return err
		}
	}
	if l.Tickets != nil {
		l.Tickets.use(cfg, l.ClientCerts.Binding)
	}
	return cfg
}

// ClientTLS is what a client has shown in its TLS handshake. It is immutable.
type ClientTLS struct {
	name    string // the requested server name (SNI), in lower case; empty: none
	Subject string // of its verified certificate; empty: there is none
	AltName string // the first alternative name of that; empty: none
}

// NewClientTLS returns what was shown; nil: nothing that is needed.
func NewClientTLS(state *tls.ConnectionState) *ClientTLS {
	s := ClientTLS{name: plainHost(state.ServerName)}
	if len(state.VerifiedChains) > 0 {
		cert := state.PeerCertificates[0]
		s.Subject, _ = Subject(cert.RawSubject) // an error has ended the handshake
		s.AltName = AltName(cert)
	}
	if s == (ClientTLS{}) {
		return nil
	}
	return &s
}

// Misdirected reports whether a client's server name by TLS differs from its request's, and the two are routed
// differently: a client admitted under one name must not reach another's.
func (s *ClientTLS) Misdirected(l *BoundListener, h *RequestInfo, r *BoundRoute) bool {
	if s == nil || s.name == "" || strings.EqualFold(s.name, h.Host) {
		return false
	}
	return plainHost(h.Host) != s.name && l.BoundRoutes.Match(s.name, h.Path) != r
}
