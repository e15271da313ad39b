package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// carrier is the engine with one goroutine for each client connection, which also
// drives the connection to the server. Others are started only for what must go both
// ways at once: a request's body that has not come whole, and a tunnel.
type carrier struct {
	edge    *Edge
	servers *servers
	pipes   pipes
	works   sync.Pool // of *work
}

func newCarrier(e *Edge) *carrier {
	return &carrier{edge: e, servers: newServers(e), works: sync.Pool{New: func() any { return newWork() }}}
}

const (
	// watchEvery is how often it is looked after clients that have left, masters that
	// are silent and connections that nobody needs.
	watchEvery = 100 * time.Millisecond
	// acceptGrace is how long connections are still taken when the edge is to stop:
	// the kernel has made them already.
	acceptGrace = 5 * time.Millisecond
	// freshGrace is how long a stopping edge waits for the first request on a
	// connection, idleGrace for another, and lingerGrace for either if it need not hurry.
	freshGrace  = time.Second
	idleGrace   = 50 * time.Millisecond
	lingerGrace = 5 * time.Second
)

// service is one listener being served.
type service struct {
	*carrier
	listener *listener
	front    *front
	draining atomic.Bool
	open     sync.WaitGroup // connections
	watching sync.WaitGroup
	over     chan struct{} // closed when nothing is to be watched any more

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// serve implements engine.
func (e *carrier) serve(ctx context.Context, l *listener, nl net.Listener) error {
	s := e.attend(l)
	failed := make(chan error, 1)
	go func() { failed <- accept(nl, e.edge.cfg.Log, s.take) }()
	e.edge.accepts()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.draining.Store(true) // before anybody can see that nobody listens
		stopAccepting(nl, failed)
	}
	_ = nl.Close() // it has taken what it could
	s.end()
	return err
}

// attend begins to look after the connections of a listener, whoever accepts them.
func (e *carrier) attend(l *listener) *service {
	s := &service{carrier: e, listener: l, front: newFront(l, e.edge.cfg.Log), over: make(chan struct{}), conns: make(map[*conn]struct{})}
	s.watching.Go(s.watch)
	return s
}

// end returns when the last connection is closed, of its own accord or because it had to be.
func (s *service) end() {
	s.drain()
	close(s.over)
	s.watching.Wait()
	s.servers.close()
	s.pipes.close()
}

// stopAccepting takes what the kernel has already made, then closes.
func stopAccepting(nl net.Listener, ended <-chan error) {
	if l, ok := nl.(interface{ SetDeadline(time.Time) error }); ok && l.SetDeadline(time.Now().Add(acceptGrace)) == nil {
		select {
		case <-ended:
			return
		case <-time.After(2 * acceptGrace):
		}
	}
	_ = nl.Close() // ends the accept under way
	<-ended
}

// accept hands connections on until nl is closed.
func accept(nl net.Listener, log *slog.Logger, take func(net.Conn)) error {
	pause := time.Duration(0)
	for {
		nc, err := nl.Accept()
		switch {
		case err == nil:
			pause = 0
			take(nc)
			continue
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case !exhausted(err) && !isTemporary(err):
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		log.Warn("cannot take connections just now", "listen", nl.Addr().String(), "err", err)
		time.Sleep(pause)
	}
}

// isTemporary: a client that left before it was taken is no fault of the listener.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *service) take(nc net.Conn) {
	var secure *tls.Conn
	if s.listener.secure != nil {
		secure = tls.Server(nc, s.listener.secure)
	}
	c := newConn(s, nc, secure, addrPort(nc.RemoteAddr()).Addr())
	s.admit(c, c.serve)
}

// admit looks after a connection while serve serves it.
func (s *service) admit(c *conn, serve func()) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.open.Go(func() {
		serve()
		s.forget(c)
	})
}

// forget looks after a connection no more.
func (s *service) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// drain lets what has begun finish for the drain time, and cuts the rest.
func (s *service) drain() {
	s.draining.Store(true)
	s.each((*conn).hurry)
	stop := s.edge.afterGrace(func() { s.each((*conn).cutOff) })
	s.open.Wait()
	stop()
}

func (s *service) each(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// watch looks after what no goroutine waits for.
func (s *service) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.over:
			return
		case <-ticker.C:
		}
		now := clock.Now()
		s.servers.tend(now)
		if s.draining.Load() {
			s.front.drain() // again and again, for those that have only now begun
		}
		if s.edge.open.Load() > 0 {
			s.each(func(c *conn) { c.watch(now) })
		}
	}
}

// addrPort returns an address of a connection that accept has made. It is invalid where
// there is none, as at the other end of a unix socket.
func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok && a != nil {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
