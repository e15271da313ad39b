package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// tlsConn is the transport of crypto/tls for a client's or a server's connection. During the handshake a
// goroutine uses it, over a blocking connection. Then a loop has the descriptor and nothing blocks. A read
// that finds nothing returns EAGAIN, which crypto/tls takes for a temporary error: it keeps the part of a
// record and continues on the next call. A write only collects; its caller sends it.
type tlsConn struct {
	net.Conn // of the goroutine; nil: a loop has it
	tls      *tls.Conn
	conn     *conn  // of the loop
	out      []byte // encrypted, not sent

	drained         bool    // the socket was emptied since read began
	completeRecords int     // records completed since crypto/tls was last called
	recordHead      [5]byte // header of the record that is coming
	headBytes       int     // of recordHead
	recordLeft      int     // bytes of the record still to come
}

// newServerTLS begins TLS over a connection of which at most a PROXY header was read.
func newServerTLS(nc net.Conn, cfg *tls.Config) *tlsConn {
	s := &tlsConn{Conn: nc}
	s.tls = tls.Server(s, cfg)
	return s
}

// Read implements net.Conn, for crypto/tls.
func (s *tlsConn) Read(p []byte) (n int, err error) {
	switch {
	case s.Conn != nil:
		n, err = s.Conn.Read(p)
	case s.drained && !s.conn.hup:
		return 0, syscall.EAGAIN
	default:
		n, err = s.conn.fd.Receive(p)
		if s.drained = n < len(p); n == 0 && err == nil {
			if err = io.EOF; s.conn.isServer {
				err = errNoCloseNotify
			}
		}
	}
	s.countRecords(p[:max(0, n)])
	return n, err
}

// errNoCloseNotify reports that a server closed the connection without close_notify. An attacker on the path
// can do that, so it does not end a body (RFC 9112, 9.8).
var errNoCloseNotify = errors.New("the server closed the connection without TLS's close_notify")

// countRecords counts completed records. Without that, every read would have to be followed by another to find
// out whether crypto/tls has a record left.
func (s *tlsConn) countRecords(p []byte) {
	for len(p) > 0 {
		n := copy(s.recordHead[s.headBytes:], p)
		s.headBytes += n
		if p = p[n:]; s.headBytes < len(s.recordHead) {
			return
		}
		if n > 0 {
			s.recordLeft = int(s.recordHead[3])<<8 | int(s.recordHead[4])
		}
		n = min(len(p), s.recordLeft)
		s.recordLeft -= n
		if p = p[n:]; s.recordLeft == 0 {
			s.completeRecords++
			s.headBytes = 0
		}
	}
}

// Write implements net.Conn, for crypto/tls.
func (s *tlsConn) Write(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(p)
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn, for crypto/tls before close_notify.
func (s *tlsConn) SetWriteDeadline(t time.Time) error {
	if s.Conn != nil {
		return s.Conn.SetWriteDeadline(t)
	}
	return nil
}

// read decrypts as many records as have come and p has space for, so that they are passed on in one write. It
// returns EAGAIN if there is nothing, 0 and no error at the end.
func (s *tlsConn) read(p []byte) (n int, err error) {
	s.drained = false
	left := 0 // complete records that, at most, are still to be read
	for more := true; more; {
		s.completeRecords = 0
		var m int
		m, err = s.tls.Read(p[n:])
		n += m
		left = max(0, left+s.completeRecords-1)
		more = err == nil && n < len(p) && (left > 0 || !s.drained || s.conn.hup)
	}
	if len(s.out) > maxTLSOutput {
		return 0, errKeyUpdates
	}
	if err == nil || err == syscall.EAGAIN {
		s.conn.readable = err == nil && n == len(p) // if p is full there may be more
	}
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, nil
	}
	return 0, err
}

// maxTLSOutput bounds what TLS itself sends to a peer while nothing else does: answers to key updates (RFC
// 8446, 4.6.3), which a peer can request endlessly.
const maxTLSOutput = 4 << 10

var errKeyUpdates = errors.New("the peer asks by TLS for one key update after another")

// encrypt returns p encrypted, behind what TLS has to send already. It is valid until the loop encrypts again.
func (s *tlsConn) encrypt(p []byte) ([]byte, error) {
	l := s.conn.loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_, err := s.tls.Write(p)
	return s.takeOutput(), err
}

// nothingToRead reports whether nothing has come for the owner, nor the end: session tickets and partial
// records do not count.
func (s *tlsConn) nothingToRead() bool {
	var one [1]byte
	_, err := s.read(one[:])
	return err == syscall.EAGAIN
}

// inRecord reports whether a part of a record has come.
func (s *tlsConn) inRecord() bool { return s.headBytes > 0 }

// useTLS has e use TLS, begun on its descriptor; nil: it does not.
func (c *conn) useTLS(s *tlsConn) {
	if c.tls = s; s != nil {
		s.conn, s.Conn = c, nil
		c.readable = true // something may have come behind the handshake
	}
}

// sendCloseNotify sends close_notify, with TLS (RFC 8446, 6.1). All writes must have gone or be deferred.
func (c *conn) sendCloseNotify() {
	if c.tls != nil && c.isOpen() && !c.hup && c.allSent() && c.unsentTail == nil {
		_, _ = c.fd.Send(c.tls.closeNotify()) // a peer that is gone needs none
	}
}

// closeNotify returns the close_notify alert.
func (s *tlsConn) closeNotify() []byte {
	l := s.conn.loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_ = s.tls.CloseWrite() // if TLS has failed, this returns its alert
	return s.takeOutput()
}

func (s *tlsConn) takeOutput() []byte {
	p := s.out
	s.out = nil
	if cap(p) <= maxTLSBuf {
		s.conn.loop.tlsBuf = p[:0]
	}
	return p
}

const maxTLSBuf = 128 << 10 // larger buffers are not kept
