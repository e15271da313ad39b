package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

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

// shown is what a client has shown in its TLS handshake. It does not change after that.
type shown struct {
	name    string // the server that it asked for (SNI), in lower case; empty: none
	subject string // of its certificate, if that was verified; empty: it has shown none
	altName string // the same of the first alternative name; empty also: it has none
}

// showing returns what was shown; nil: nothing of which anybody wants to know.
func showing(secure *tls.Conn) *shown {
	state := secure.ConnectionState()
	s := shown{name: plainHost(state.ServerName)}
	if len(state.VerifiedChains) > 0 {
		cert := state.PeerCertificates[0]
		s.subject, _ = policy.Subject(cert.RawSubject) // an error has ended the handshake
		s.altName = policy.AltName(cert)
	}
	if s == (shown{}) {
		return nil
	}
	return &s
}

// misdirected reports whether a client asked for another server by TLS than by its request, and
// the two are routed differently: who has been let in by one name must not get at another.
func (s *shown) misdirected(l *listener, h *head, r *route) bool {
	if s == nil || s.name == "" || strings.EqualFold(s.name, h.host) {
		return false
	}
	return plainHost(h.host) != s.name && l.routes.match(s.name, h.path) != r
}

// greet does what comes before the first request, and reports whether HTTP/2 is spoken;
// not ok: nothing is.
func (c *conn) greet() (two, ok bool) {
	switch secure, sealed := c.Conn.(*tls.Conn); {
	case sealed && !c.handshake(secure):
		return false, false
	case sealed:
		c.shown = showing(secure)
		return secure.ConnectionState().NegotiatedProtocol == protoHTTP2, true
	}
	if !c.service.listener.H2C {
		return false, true
	}
	return c.awaitPreface()
}

// handshake must be over in the time that a head may take.
func (c *conn) handshake(secure *tls.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(c.service.listener.HeaderTimeout)) // an error is the connection's, which whoever uses it will see
	c.recut()
	err := secure.Handshake()
	if err == nil {
		_ = c.SetDeadline(noTime)
		c.recut()
		return true
	}
	c.service.edge.cfg.Log.Debug("handshake failed", "listen", c.service.listener.Listen, "client", c.peer, "err", err)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis address takes HTTPS only\n")
	}
	return false
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

// breakOff ends the connection so that the client cannot take what it got for the
// whole. byEnd: nothing but the connection's end tells where that is. To close TLS in
// good order would be to say that all has been said, which not every client waits for.
func (c *conn) breakOff(byEnd bool) {
	nc := beneath(c.Conn)
	if nc != c.Conn {
		defer func() { _ = nc.Close() }()
	}
	if tcp, ok := nc.(*net.TCPConn); ok && byEnd {
		_ = tcp.SetLinger(0) // a reset is the only way to tell that the end of the connection is not that of the body
	}
}
