package edge

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/raw"
)

// sealed is what the TLS of a client's connection is spoken over. A goroutine shakes
// hands, over a connection that may block. After that a loop has the descriptor, and
// nothing blocks: a read that finds nothing says so, which the library takes for a
// passing trouble and tries again when it is asked again, with what it has of a record
// kept; a write takes all, and whoever asked for it sends it.
type sealed struct {
	net.Conn // of a goroutine; nil: a loop has it
	tls      *tls.Conn
	end      *end   // of the loop
	out      []byte // what TLS has to say, and has not gone

	short   bool    // the socket has given all there was since the library was last asked
	records int     // that have come to their end since then
	head    [5]byte // of the record that is coming
	come    int     // octets of it
	left    int     // octets of the record behind it that are still to come
}

// seal begins TLS over a connection of which only a PROXY header may have been read.
func seal(nc net.Conn, cfg *tls.Config) *tls.Conn {
	s := &sealed{Conn: nc}
	s.tls = tls.Server(s, cfg)
	return s.tls
}

// NetConn is the connection below, as long as a goroutine has it.
func (s *sealed) NetConn() net.Conn { return s.Conn }

// Read is the library's, for what has come to the socket.
func (s *sealed) Read(p []byte) (n int, err error) {
	switch {
	case s.Conn != nil:
		n, err = s.Conn.Read(p)
	case s.short && !s.end.hup:
		return 0, syscall.EAGAIN
	default:
		n, err = raw.Receive(s.end.fd, p)
		if s.short = n < len(p); n == 0 && err == nil {
			err = io.EOF
		}
	}
	s.follow(p[:max(0, n)])
	return n, err
}

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

// read reads what has come, out of its seal. It returns EAGAIN if there is nothing, 0 and
// no error at the end.
func (s *sealed) read(p []byte) (int, error) {
	s.short, s.records = false, 0
	n, err := s.tls.Read(p)
	e := s.end
	switch {
	case err == syscall.EAGAIN:
		e.readable = false
	case n > 0 && err == nil:
		// What fills the room may go on, and behind one record may be another.
		e.readable = n == len(p) || s.records > 1 || !s.short || e.hup
	}
	switch {
	case n > 0:
		return n, nil
	case err == io.EOF:
		return 0, nil
	}
	return 0, err
}

// seal returns p as it goes to the client, behind what is to go there already. It is good
// until the loop seals again.
func (s *sealed) seal(p []byte) ([]byte, error) {
	l := s.end.loop
	s.out = append(l.sealed[:0], s.out...)
	_, err := s.tls.Write(p)
	return s.take(), err
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

// over goes on over a goroutine's connection; nil: no TLS is spoken.
func (s *sealed) over(nc net.Conn) *tls.Conn {
	if s == nil {
		return nil
	}
	if len(s.out) > 0 {
		_, _ = nc.Write(s.out) // whoever writes next sees what is wrong
	}
	s.Conn, s.end, s.out = nc, nil, nil
	return s.tls
}
