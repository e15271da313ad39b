package edge

import (
	"crypto/tls"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// What a loop does not do, goroutines do: what comes before a client's first request, if
// that takes more than to read it, and TLS to servers of HTTP/1.1. A connection comes
// from them once it is known what it speaks, and goes over to them with what has come on it.

// greets tells whether something comes before a client's first request.
func (l *listener) greets() bool { return l.secure != nil || l.introduces() || l.H2C }

// greet has a goroutine greet a client.
func (s *loopService) greet(fd int) {
	nc, err := connOf(fd)
	if err != nil {
		s.open.Done() // it is lost, for want of a descriptor
		return
	}
	var secure *tls.Conn
	if s.listener.secure != nil {
		secure = seal(nc, s.listener.secure)
	}
	c := newConn(s.goroutines, nc, secure)
	c.service.admit(c, func() {
		if !s.welcome(c) {
			_ = c.Close() // all that was to be said has been
			s.open.Done()
		}
	})
}

// welcome greets a client and gives it to a loop, unless its HTTP/2 is not for loops.
// False: the connection is over.
func (s *loopService) welcome(c *conn) bool {
	if !c.introduce() {
		return false
	}
	two, ok := c.greet()
	switch {
	case !ok:
		return false
	case two && !c.strong():
		c.serveHTTP2()
		return false
	}
	return s.adopt(c, two)
}

// adopt takes a connection into a loop that a goroutine has greeted; false: it cannot.
func (s *loopService) adopt(c *conn, two bool) bool {
	var tls *sealed
	if secure, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		tls = secure.NetConn().(*sealed)
	}
	nc := beneath(c.Conn)
	fd, err := descriptor(nc)
	if err != nil {
		return false
	}
	s.goroutines.forget(c) // nobody else must touch it from now on
	_ = nc.Close()         // the descriptor is a copy
	to := s.engine.least(s.engine.all[0])
	to.connects.Add(1)
	peer, early := c.peer, c.in[c.r:c.w]
	begin := func() { to.begin(s, fd, peer, tls, early) }
	if two {
		begin = func() { to.beginTrunk(s, fd, peer, tls, early) }
	}
	if to.post(letter{do: begin}) {
		return true
	}
	_ = unix.Close(fd)
	return false
}

// beyond tells whether the request whose head has come is for the goroutines.
func (f *inbound) beyond() bool {
	l := f.service.listener
	if !l.mixed.Load() {
		return false
	}
	h := f.task.describe(l, f.peer)
	r := l.routes.match(h.host, h.path)
	return r != nil && r.secure.Load()
}

// expectSecure remembers that a route leads to servers that speak TLS.
func (l *listener) expectSecure(r *route) {
	r.secure.Store(true)
	l.mixed.Store(true)
}

// handOver gives the connection to the goroutines. No exchange is open.
func (f *inbound) handOver() {
	if f.branch != nil {
		f.detour()
		return
	}
	t := f.task
	t.req.Reset()
	if !f.sent() { // it is read again when the answer to the last one has gone
		f.stage = idling
		f.until(f.service.listener.IdleTimeout)
		return
	}
	if f.early != nil {
		t.gather(f.early.octets, false)
	}
	if c := f.release(); c != nil {
		c.in, c.r, c.w = t.got, t.gr, t.gw
		c.service.admit(c, func() {
			c.serveRequests()
			_ = c.Close() // all that was to be said has been
		})
	}
	f.service.open.Done()
}

// release takes the connection out of the loop; nil: it is lost, for want of a descriptor.
// The task is its new owner's, who also says that it is open no more.
func (f *inbound) release() *conn {
	l, s := f.loop, f.service
	f.task, f.stage = nil, closed
	l.wheel.drop(&f.timer)
	delete(s.members[l], f)
	l.connects.Add(-1)
	nc, err := connOf(f.end.leaveLoop())
	if err != nil {
		return nil
	}
	c := newConn(s.goroutines, nc, f.sealed.over(nc))
	c.peer, c.waiting = f.peer, forNothing
	return c
}

// leaveLoop ends the watch, but does not close the descriptor, which it returns.
func (e *end) leaveLoop() int {
	fd := e.fd
	e.early = nil // whoever wants it has it

	_ = unix.EpollCtl(e.loop.epfd, unix.EPOLL_CTL_DEL, fd, nil) // closing a copy would not do
	e.loop.leave(e)
	return fd
}

// connOf makes a connection of a descriptor, which is closed in any case.
func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "connection")
	defer func() { _ = file.Close() }() // the connection has a copy
	return net.FileConn(file)
}
