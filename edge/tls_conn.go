package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// tlsConn is what the TLS of a client's or a server's connection is spoken over. A goroutine shakes
// hands, over a connection that may block. After that a loop has the descriptor, and
// nothing blocks: a read that finds nothing says so, which the library takes for a
// passing trouble and tries again when it is asked again, with what it has of a record
// kept; a write takes all, and whoever asked for it sends it.
type tlsConn struct {
	net.Conn // of a goroutine; nil: a loop has it
	tls      *tls.Conn
	conn     *conn      // of the loop
	client   *clientTLS // of a client; nil: nothing
	out      []byte     // what TLS has to say, and has not gone

	drained         bool    // the socket has given all there was since read began
	completeRecords int     // that have come to their end since the library was last asked
	recordHead      [5]byte // of the record that is coming
	headBytes       int     // bytes of it
	recordLeft      int     // bytes of the record behind it that are still to come
}

// newServerTLS begins TLS over a connection of which only a PROXY header may have been read.
func newServerTLS(nc net.Conn, cfg *tls.Config) *tlsConn {
	s := &tlsConn{Conn: nc}
	s.tls = tls.Server(s, cfg)
	return s
}

// Read is the library's, for what has come to the socket.
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

// errNoCloseNotify says that a server has closed the connection without a word by TLS that nothing more comes. Anybody on
// the way can do that: the end of the connection is not the end of a body (RFC 9112, 9.8).
var errNoCloseNotify = errors.New("the server closed the connection without TLS's close_notify")

// countRecords counts the records that come to their end. Without that, whoever has read one
// would have to try whether the library has another.
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

// Write is the library's.
func (s *tlsConn) Write(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(p)
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline is the library's, before it takes its leave.
func (s *tlsConn) SetWriteDeadline(t time.Time) error {
	if s.Conn != nil {
		return s.Conn.SetWriteDeadline(t)
	}
	return nil
}

// read reads what has come, out of its seal: as many records as there are and p has room for, so that they go on in
// one write. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (s *tlsConn) read(p []byte) (n int, err error) {
	s.drained = false
	left := 0 // records that have come whole and, at most, are still to be read
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
		s.conn.readable = err == nil && n == len(p) // what fills the room may go on
	}
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, nil
	}
	return 0, err
}

// maxTLSOutput bounds what TLS itself has to say to a peer, to which nothing else goes meanwhile: answers to key updates
// (RFC 8446, 4.6.3), which a peer can ask for again and again.
const maxTLSOutput = 4 << 10

var errKeyUpdates = errors.New("the peer asks by TLS for one key update after another")

// encrypt returns p as it goes to the peer, behind what is to go there already. It is good
// until the loop seals again.
func (s *tlsConn) encrypt(p []byte) ([]byte, error) {
	l := s.conn.loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_, err := s.tls.Write(p)
	return s.takeOutput(), err
}

// nothingToRead reports whether nothing has come, nor the end, but what TLS sends for itself, such as a session ticket,
// or a part of a record.
func (s *tlsConn) nothingToRead() bool {
	var one [1]byte
	_, err := s.read(one[:])
	return err == syscall.EAGAIN
}

// inRecord reports whether a part of a record has come.
func (s *tlsConn) inRecord() bool { return s.headBytes > 0 }

// useTLS has e speak the TLS that was begun on its descriptor; nil: it speaks none.
func (c *conn) useTLS(s *tlsConn) {
	if c.tls = s; s != nil {
		s.conn, s.Conn = c, nil
		c.readable = true // something may have come behind the handshake
	}
}

// sendCloseNotify tells the peer by TLS, if that is spoken, that nothing more will come (RFC 8446, 6.1). All that was written
// must have gone to the socket or wait for the end of the turn.
func (c *conn) sendCloseNotify() {
	if c.tls != nil && c.isOpen() && !c.hup && c.allSent() && c.unsentTail == nil {
		_, _ = c.fd.Send(c.tls.closeNotify()) // a peer that has gone needs none
	}
}

// closeNotify returns the word that nothing more will come.
func (s *tlsConn) closeNotify() []byte {
	l := s.conn.loop
	s.out = append(l.tlsBuf[:0], s.out...)
	_ = s.tls.CloseWrite() // if TLS has failed, that is what there is to say
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

const maxTLSBuf = 128 << 10 // a larger buffer does not outlive its use
