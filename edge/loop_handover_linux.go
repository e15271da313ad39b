package edge

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// What a loop does not do, goroutines do: TLS to servers. A connection that needs it goes
// over to them with what has come on it.

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
	t := f.task
	t.req.Reset()
	if c := f.release(); c != nil {
		c.in, c.r, c.w = t.got, t.gr, t.gw
		c.service.admit(c, c.serve)
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
	c := newConn(s.goroutines, nc)
	c.peer, c.waiting = f.peer, forNothing
	return c
}

// leaveLoop ends the watch, but does not close the descriptor, which it returns.
func (e *end) leaveLoop() int {
	fd := e.fd
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
