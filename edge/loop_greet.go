package edge

import (
	"crypto/tls"
	"net"
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// What comes before a client's first request is done by a goroutine, if that takes more than to read it: a PROXY header,
// the handshake of TLS, the preface of HTTP/2. A loop gets the connection once it is known what it speaks.

// greets reports whether something comes before a client's first request.
func (l *listener) greets() bool { return l.secure != nil || l.introduces() || l.H2C }

// greet has a goroutine greet a client, who has a seat already if that is valid.
func (s *loopService) greet(descriptor *fd.FD, peer, seat netip.Addr) {
	nc, err := descriptor.Conn()
	if err != nil {
		s.over(seat) // it is lost, for want of a descriptor
		return
	}
	var secure *tls.Conn
	if s.listener.secure != nil {
		secure = seal(nc, s.listener.secure)
	}
	c := newConn(s.goroutines, nc, secure, peer)
	c.seat = seat
	c.service.admit(c, func() {
		if !s.welcome(c) {
			_ = c.Close() // all that was to be said has been
			s.over(c.seat)
		}
	})
}

// welcome greets a client and gives it to a loop. False: the connection is over.
func (s *loopService) welcome(c *conn) bool {
	if !c.introduce() {
		return false
	}
	two, ok := c.greet()
	return ok && s.adopt(c, two)
}

// adopt takes a connection into a loop that a goroutine has greeted; false: it cannot.
func (s *loopService) adopt(c *conn, two bool) bool {
	var tls *sealed
	if secure, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		tls = secure.NetConn().(*sealed)
	}
	nc := beneath(c.Conn)
	descriptor, err := fd.Copy(nc)
	if err != nil {
		return false
	}
	if tls != nil {
		tls.shown = c.shown
	}
	descriptor.SetKeepalive(&s.engine.edge.cfg.TCP) // package net has set its own
	s.goroutines.forget(c)                          // only the goroutines touch it from now on
	_ = nc.Close()                                  // the descriptor is a copy
	to := s.engine.least(s.engine.all[0])
	to.connects.Add(1)
	peer, early := c.peer, c.in[c.r:c.w]
	begin := func() { to.begin(s, &descriptor, peer, tls, early) }
	if two {
		begin = func() { to.beginTrunk(s, &descriptor, peer, tls, early) }
	}
	if to.post(letter{do: begin}) {
		return true
	}
	descriptor.Close()
	return false
}

// shown is what the client has shown by TLS, on its own connection or on that of its stream.
func (f *inbound) shown() *shown {
	secure := f.sealed
	if f.branch != nil {
		secure = f.branch.trunk.sealed
	}
	if secure == nil {
		return nil
	}
	return secure.shown
}
