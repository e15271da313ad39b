package proxy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/handshake"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// listenerService is one listener served by all loops.
type listenerService struct {
	engine     *Engine
	listener   *routing.BoundListener
	draining   atomic.Bool
	killed     atomic.Bool
	conns      sync.WaitGroup  // connections
	handshakes handshake.Conns // connections that no loop has yet
	h2         h2conn.ServerConfig
	failed     chan error
	acceptors  map[*worker]*acceptor
	tracked    map[*worker]map[trackedConn]struct{} // each loop's own
}

// trackedConn is a client's connection of a listener.
type trackedConn interface {
	// beginDrain gives an idle connection a moment for one more request.
	beginDrain()
	// Kill ends it in any state.
	Kill()
	// LimitAddr returns the address that listener.LimitConn has counted; invalid: none.
	limitAddr() netip.Addr
}

// Serve accepts connections from l until ctx ends, and calls accepting once it does. Then it accepts no more, lets
// requests finish for the drain time, cuts the rest, and returns when all exchanges are closed. An error says why it
// stopped before.
func (e *Engine) Serve(ctx context.Context, listener *routing.BoundListener, l net.Listener, accepting func()) error {
	if err := e.startFirst(); err != nil {
		return err
	}
	defer e.stopLast()
	s := &listenerService{engine: e, listener: listener, failed: make(chan error, 1), acceptors: make(map[*worker]*acceptor), tracked: make(map[*worker]map[trackedConn]struct{})}
	s.h2 = h2conn.ServerConfig{HeaderLimit: listener.HeaderLimit, HeaderTimeout: listener.HeaderTimeout, IdleTimeout: listener.IdleTimeout}
	s.handshakes.Init(e.deps, listener)
	for _, loop := range e.all {
		s.tracked[loop] = make(map[trackedConn]struct{})
	}
	err := s.startAccept(l)
	if p, ok := l.(pausable); ok {
		p.OnPark(s.stopAccept)
	}
	if err == nil {
		accepting()
		select {
		case err = <-s.failed:
		case <-ctx.Done():
			s.draining.Store(true) // before it can be seen that the listener is closed
			time.Sleep(acceptGrace)
		}
	}
	s.draining.Store(true)
	s.stopAccept()
	_ = l.Close() // it has accepted what it could
	s.drain()
	return err
}

// pausable is a listener that can be asked to accept no more although it is not closed: OnPark registers the
// function that does so.
type pausable interface{ OnPark(stop func()) }

// onEachLoop has every loop run do, and returns when all have.
func (s *listenerService) onEachLoop(do func(*worker)) {
	var done sync.WaitGroup
	for _, l := range s.engine.all {
		done.Add(1)
		if !l.Call(func() { defer done.Done(); do(l) }) {
			done.Done()
		}
	}
	done.Wait()
}

// drain lets requests finish for the drain time, and cuts the rest.
func (s *listenerService) drain() {
	s.draining.Store(true)
	s.handshakes.LimitTime(time.Now().Add(s.firstWait()))
	s.onEachLoop(func(l *worker) {
		for m := range s.tracked[l] {
			m.beginDrain()
		}
	})
	stop := s.engine.afterGrace(func() {
		s.killed.Store(true)
		s.handshakes.LimitTime(handshake.Past)
		s.onEachLoop(func(l *worker) {
			for m := range s.tracked[l] {
				m.Kill()
			}
		})
	})
	s.conns.Wait()
	stop()
	s.handshakes.Wait()
}

func (s *listenerService) setFailed(err error) {
	select {
	case s.failed <- err:
	default: // one failure ends all
	}
}

// leastLoaded returns the loop with the fewest connections; of equals, this one.
func (e *Engine) leastLoaded(this *worker) *worker {
	for _, l := range e.all {
		if l.clientConns.Load() < this.clientConns.Load() {
			this = l
		}
	}
	return this
}

// addAccepted adds an accepted descriptor to the loop.
func (l *worker) addAccepted(s *listenerService, descriptor *fd.FD, peer netip.AddrPort) {
	if s.listener.Mode == routing.ModeTCP {
		l.addTCPClient(s, descriptor, peer)
	} else {
		l.addClient(s, descriptor, peer.Addr(), nil, nil, nil)
	}
}

// handshakeInBackground has a goroutine serve a new connection until its first request. LimitConn has counted
// it if LimitAddr is valid.
func (s *listenerService) handshakeInBackground(descriptor *fd.FD, peer, limitAddr netip.Addr) {
	conn, err := descriptor.Conn()
	if err != nil {
		s.connClosed(limitAddr) // lost, for want of a descriptor
		return
	}
	g := s.handshakes.Add(conn, peer, limitAddr)
	if s.draining.Load() {
		g.LimitTime(time.Now().Add(s.firstWait()))
	}
	if s.killed.Load() {
		g.LimitTime(handshake.Past)
	}
	s.handshakes.Serve(g, func(good bool) {
		if good && s.moveToLoop(g) {
			return
		}
		_ = conn.Close() // all bytes are sent
		s.connClosed(g.LimitAddr)
	})
}

// moveToLoop moves a connection to a loop. It returns false on failure.
func (s *listenerService) moveToLoop(g *handshake.Conn) bool {
	two := g.SpeaksHTTP2()
	descriptor, err := fd.Take(g.Conn)
	if err != nil {
		return false
	}
	descriptor.SetKeepalive(&s.engine.cfg.TCP) // package net has set its own
	to := s.engine.leastLoaded(s.engine.all[0])
	to.clientConns.Add(1)
	peer, tls, shown, early := g.Peer, g.TLS, g.Shown, slices.Clip(g.Input)
	begin := func() { to.addClient(s, &descriptor, peer, tls, shown, early) }
	if two {
		begin = func() { to.addH2Client(s, &descriptor, peer, tls, shown, early) }
	}
	if to.Call(begin) {
		return true
	}
	descriptor.Close()
	return false
}

// clientGone removes a connection of a loop.
func (s *listenerService) clientGone(l *worker, m trackedConn) {
	delete(s.tracked[l], m)
	l.clientConns.Add(-1)
	s.connClosed(m.limitAddr())
}

// connClosed counts an accepted connection as closed, for LimitConn too if the address is valid.
func (s *listenerService) connClosed(limitAddr netip.Addr) {
	if limitAddr.IsValid() {
		s.listener.ReleaseConn(limitAddr)
	}
	s.engine.cfg.Places.Free()
	s.conns.Done()
}

// firstWait is how long a connection that has brought no request may stay without one when the edge stops.
func (s *listenerService) firstWait() time.Duration {
	return min(s.engine.firstGrace(), s.listener.SilentTime())
}
