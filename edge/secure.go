package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
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

// tlsConfig is what the standard library takes for safe, for the certificates of the
// listener; nil if it has none. Sessions are resumed by tickets, whose keys the
// library makes and changes daily.
func (l *Listener) tlsConfig() *tls.Config {
	if l.Certificate == nil {
		return nil
	}
	return &tls.Config{GetCertificate: l.Certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{protoHTTP2, protoHTTP1}}
}

// greet does what comes before the first request, and tells whether HTTP/2 is spoken;
// not ok: nothing is.
func (c *conn) greet() (two, ok bool) {
	switch secure, sealed := c.Conn.(*tls.Conn); {
	case sealed && !c.handshake(secure):
		return false, false
	case sealed:
		return secure.ConnectionState().NegotiatedProtocol == protoHTTP2, true
	}
	return c.service.listener.H2C && c.awaitPreface(), true
}

// strong tells whether HTTP/2 may be spoken by the cipher suite that was agreed on: RFC
// 9113, 9.2.2 has a long list of those of TLS 1.2 by which it may not.
func (c *conn) strong() bool {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return true
	}
	switch state := secure.ConnectionState(); state.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	default:
		return state.Version > tls.VersionTLS12
	}
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

// looksLikeHTTP tells whether a client speaks HTTP where TLS is spoken.
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
