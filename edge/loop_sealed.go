package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// sealed is what the TLS of a client's or a server's connection is spoken over. A goroutine shakes
// hands, over a connection that may block. After that a loop has the descriptor, and
// nothing blocks: a read that finds nothing says so, which the library takes for a
// passing trouble and tries again when it is asked again, with what it has of a record
// kept; a write takes all, and whoever asked for it sends it.
type sealed struct {
	net.Conn // of a goroutine; nil: a loop has it
	tls      *tls.Conn
	end      *end   // of the loop
	shown    *shown // of a client; nil: nothing
	out      []byte // what TLS has to say, and has not gone

	short   bool    // the socket has given all there was since read began
	records int     // that have come to their end since the library was last asked
	head    [5]byte // of the record that is coming
	come    int     // bytes of it
	left    int     // bytes of the record behind it that are still to come
}

// seal begins TLS over a connection of which only a PROXY header may have been read.
func seal(nc net.Conn, cfg *tls.Config) *sealed {
	s := &sealed{Conn: nc}
	s.tls = tls.Server(s, cfg)
	return s
}

// Read is the library's, for what has come to the socket.
func (s *sealed) Read(p []byte) (n int, err error) {
	switch {
	case s.Conn != nil:
		n, err = s.Conn.Read(p)
	case s.short && !s.end.hup:
		return 0, syscall.EAGAIN
	default:
		n, err = s.end.fd.Receive(p)
		if s.short = n < len(p); n == 0 && err == nil {
			if err = io.EOF; s.end.server {
				err = errNoCloseNotify
			}
		}
	}
	s.follow(p[:max(0, n)])
	return n, err
}

// errNoCloseNotify says that a server has closed the connection without a word by TLS that nothing more comes. Anybody on
// the way can do that: the end of the connection is not the end of a body (RFC 9112, 9.8).
var errNoCloseNotify = errors.New("the server closed the connection without TLS's close_notify")

// follow counts the records that come to their end. Without that, whoever has read one
// would have to try whether the library has another.
func (s *sealed) follow(p []byte) {
	for len(p) > 0 {
		n := copy(s.head[s.come:], p)
		s.come += n
		if p = p[n:]; s.come < len(s.head) {
			return
		}
		if n > 0 {
			s.left = int(s.head[3])<<8 | int(s.head[4])
		}
		n = min(len(p), s.left)
		s.left -= n
		if p = p[n:]; s.left == 0 {
			s.records++
			s.come = 0
		}
	}
}

// Write is the library's.
func (s *sealed) Write(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(p)
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline is the library's, before it takes its leave.
func (s *sealed) SetWriteDeadline(t time.Time) error {
	if s.Conn != nil {
		return s.Conn.SetWriteDeadline(t)
	}
	return nil
}

// read reads what has come, out of its seal: as many records as there are and p has room for, so that they go on in
// one write. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (s *sealed) read(p []byte) (n int, err error) {
	s.short = false
	left := 0 // records that have come whole and, at most, are still to be read
	for more := true; more; {
		s.records = 0
		var m int
		m, err = s.tls.Read(p[n:])
		n += m
		left = max(0, left+s.records-1)
		more = err == nil && n < len(p) && (left > 0 || !s.short || s.end.hup)
	}
	if len(s.out) > mostOwed {
		return 0, errOwed
	}
	if err == nil || err == syscall.EAGAIN {
		s.end.readable = err == nil && n == len(p) // what fills the room may go on
	}
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, nil
	}
	return 0, err
}

// mostOwed bounds what TLS itself has to say to a peer, to which nothing else goes meanwhile: answers to key updates
// (RFC 8446, 4.6.3), which a peer can ask for again and again.
const mostOwed = 4 << 10

var errOwed = errors.New("the peer asks by TLS for one key update after another")

// seal returns p as it goes to the peer, behind what is to go there already. It is good
// until the loop seals again.
func (s *sealed) seal(p []byte) ([]byte, error) {
	l := s.end.loop
	s.out = append(l.sealed[:0], s.out...)
	_, err := s.tls.Write(p)
	return s.take(), err
}

// nothingToRead reports whether nothing has come, nor the end, but what TLS sends for itself, such as a session ticket,
// or a part of a record.
func (s *sealed) nothingToRead() bool {
	var one [1]byte
	_, err := s.read(one[:])
	return err == syscall.EAGAIN
}

// inRecord reports whether a part of a record has come.
func (s *sealed) inRecord() bool { return s.come > 0 }

// useTLS has e speak the TLS that was begun on its descriptor; nil: it speaks none.
func (e *end) useTLS(s *sealed) {
	if e.sealed = s; s != nil {
		s.end, s.Conn = e, nil
		e.readable = true // something may have come behind the handshake
	}
}

// closeNotify tells the peer by TLS, if that is spoken, that nothing more will come (RFC 8446, 6.1). All that was written
// must have gone to the socket or wait for the end of the turn.
func (e *end) closeNotify() {
	if e.sealed != nil && e.isOpen() && !e.hup && e.sent() && e.remains == nil {
		_, _ = e.fd.Send(e.sealed.farewell()) // a peer that has gone needs none
	}
}

// farewell returns the word that nothing more will come.
func (s *sealed) farewell() []byte {
	l := s.end.loop
	s.out = append(l.sealed[:0], s.out...)
	_ = s.tls.CloseWrite() // if TLS has failed, that is what there is to say
	return s.take()
}

func (s *sealed) take() []byte {
	p := s.out
	s.out = nil
	if cap(p) <= mostSealed {
		s.end.loop.sealed = p[:0]
	}
	return p
}

const mostSealed = 128 << 10 // a larger buffer does not outlive its use
