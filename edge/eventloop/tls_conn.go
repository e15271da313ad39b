package eventloop

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// TLSConn is the transport of crypto/tls for a client's or a server's connection. During the handshake a
// goroutine uses it, over a blocking connection. Then a loop has the descriptor and nothing blocks. A read
// that finds nothing returns EAGAIN, which crypto/tls takes for a temporary error: it keeps the part of a
// record and continues on the next call. A write only collects; its caller sends it.
type TLSConn struct {
	net.Conn // of the goroutine; nil: a loop has it
	TLS      *tls.Conn
	conn     *Conn  // of the loop
	out      []byte // encrypted, not sent

	drained         bool    // the socket was emptied since read began
	completeRecords int     // records completed since crypto/tls was last called
	recordHead      [5]byte // header of the record that is coming
	headBytes       int     // of recordHead
	recordLeft      int     // bytes of the record still to come
}

// NewServerTLS begins TLS over a connection of which at most a PROXY header was read.
func NewServerTLS(nc net.Conn, cfg *tls.Config) *TLSConn {
	s := &TLSConn{Conn: nc}
	s.TLS = tls.Server(s, cfg)
	return s
}

// Read implements net.Conn, for crypto/tls.
func (s *TLSConn) Read(p []byte) (n int, err error) {
	switch {
	case s.Conn != nil:
		n, err = s.Conn.Read(p)
	case s.drained && !s.conn.PeerClosed:
		return 0, syscall.EAGAIN
	default:
		n, err = s.conn.FD.Receive(p)
		if s.drained = n < len(p); n == 0 && err == nil {
			if err = io.EOF; s.conn.IsServer {
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
func (s *TLSConn) countRecords(p []byte) {
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
func (s *TLSConn) Write(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(p)
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn, for crypto/tls before close_notify.
func (s *TLSConn) SetWriteDeadline(t time.Time) error {
	if s.Conn != nil {
		return s.Conn.SetWriteDeadline(t)
	}
	return nil
}

// read decrypts as many records as have come and p has space for, so that they are passed on in one write. It
// returns EAGAIN if there is nothing, 0 and no error at the end.
func (s *TLSConn) read(p []byte) (n int, err error) {
	s.drained = false
	left := 0 // complete records that, at most, are still to be read
	for more := true; more; {
		s.completeRecords = 0
		var m int
		m, err = s.TLS.Read(p[n:])
		n += m
		left = max(0, left+s.completeRecords-1)
		more = err == nil && n < len(p) && (left > 0 || !s.drained || s.conn.PeerClosed)
	}
	if len(s.out) > maxTLSOutput {
		return 0, errKeyUpdates
	}
	if err == nil || err == syscall.EAGAIN {
		s.conn.Readable = err == nil && n == len(p) // if p is full there may be more
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
func (s *TLSConn) encrypt(p []byte) ([]byte, error) {
	l := s.conn.Loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_, err := s.TLS.Write(p)
	return s.takeOutput(), err
}

// NothingToRead reports whether nothing has come for the owner, nor the end: session tickets and partial
// records do not count.
func (s *TLSConn) NothingToRead() bool {
	var one [1]byte
	_, err := s.read(one[:])
	return err == syscall.EAGAIN
}

// InRecord reports whether a part of a record has come.
func (s *TLSConn) InRecord() bool { return s.headBytes > 0 }

// UseTLS has e use TLS, begun on its descriptor; nil: it does not.
func (c *Conn) UseTLS(s *TLSConn) {
	if c.TLS = s; s != nil {
		s.conn, s.Conn = c, nil
		c.Readable = true // something may have come behind the handshake
	}
}

// SendCloseNotify sends close_notify, with TLS (RFC 8446, 6.1). All writes must have gone or be deferred.
func (c *Conn) SendCloseNotify() {
	if c.TLS != nil && c.IsOpen() && !c.PeerClosed && c.AllSent() && c.unsentTail == nil {
		_, _ = c.FD.Send(c.TLS.CloseNotify()) // a peer that is gone needs none
	}
}

// CloseNotify returns the close_notify alert.
func (s *TLSConn) CloseNotify() []byte {
	l := s.conn.Loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_ = s.TLS.CloseWrite() // if TLS has failed, this returns its alert
	return s.takeOutput()
}

func (s *TLSConn) takeOutput() []byte {
	p := s.out
	s.out = nil
	if cap(p) <= maxTLSBuf {
		s.conn.Loop.tlsBuf = p[:0]
	}
	return p
}

const maxTLSBuf = 128 << 10 // larger buffers are not kept
