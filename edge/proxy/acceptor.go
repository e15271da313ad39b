package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// acceptor accepts a listener's connections for one loop. All acceptors of a listener share the kernel's
// queue, so no connection is lost with a loop or an edge that stops.
type acceptor struct {
	eventloop.Conn
	eventloop.Timer
	worker       *worker
	service      *listenerService
	inheritsTCP  bool // connections inherit the listener's TCP options; false: they are set on each
	draining     bool // the queue is read once more, without waiting
	queueEmptied bool // the queue has been empty since: older connections are gone
}

// startAccept starts an acceptor on each loop.
func (s *listenerService) startAccept(l net.Listener) error {
	all, err := fd.CopyListener(l, len(s.engine.all))
	if err != nil {
		return fmt.Errorf("connections are taken from the descriptor of a network listener, as those of package net have one, and %T: %w", l, err)
	}
	copies := make(map[*worker]*fd.FD)
	for i, loop := range s.engine.all {
		d := &acceptor{worker: loop, service: s, inheritsTCP: all[i].SetTCPOptions(&s.engine.cfg.TCP)}
		copies[loop] = all[i]
		d.Conn.Owner, d.Timer.Owner = d, d
		s.acceptors[loop] = d
	}
	s.onEachLoop(func(l *worker) { s.acceptors[l].start(l, copies[l]) })
	return nil
}

func (d *acceptor) start(l *worker, descriptor *fd.FD) {
	if err := l.Register(&d.Conn, descriptor, fd.Readable|fd.EdgeTriggered|fd.Exclusive); err != nil {
		d.service.setFailed(err)
		return
	}
	d.Readable = true // connections may have come before the registration
	d.OnReady()
}

// stopAccept accepts what is in the kernel's queue, and then no more.
func (s *listenerService) stopAccept() {
	s.onEachLoop(func(l *worker) {
		if d := s.acceptors[l]; d != nil && d.IsOpen() {
			d.drain()
		}
	})
}

// drain ends the registration before it accepts what is left: a later connection then wakes another acceptor
// of the queue, perhaps one of another edge.
func (d *acceptor) drain() {
	d.draining = true
	d.worker.Timers.Stop(&d.Timer)
	d.FD = d.Conn.Detach()
	d.Readable = true
	d.OnReady()
	d.FD.Close() // a copy
}

// OnReady implements the connection's owner: it accepts all there are.
func (d *acceptor) OnReady() {
	places := d.service.engine.cfg.Places
	for d.Readable && d.IsOpen() {
		if !places.Take() {
			d.pauseAccept("the limit of open client connections is reached; others wait", "connections", places.Most())
			return
		}
		descriptor, from, err := d.FD.Accept()
		if err != nil {
			places.Free()
		}
		switch {
		case err == nil:
			if !d.inheritsTCP || !d.queueEmptied {
				descriptor.SetTCPOptions(&d.service.engine.cfg.TCP)
			}
			d.assign(&descriptor, from)
		case err == syscall.EAGAIN:
			d.Readable, d.queueEmptied = false, true
		case err == syscall.EINTR, isTemporary(err) && !upstream.Exhausted(err): // the client has left before
		case upstream.Exhausted(err):
			d.pauseAccept("cannot accept connections", "err", err)
			return
		default:
			d.Readable = false
			d.service.setFailed(err)
		}
	}
}

// pauseAccept accepts nothing for a moment, and logs why now and then.
func (d *acceptor) pauseAccept(why, name string, value any) {
	if d.draining {
		return // another acceptor of the queue takes them
	}
	e, now := d.service.engine, int64(d.worker.Now)
	if said := e.lastFullLog.Load(); (said == 0 || now-said > int64(fullLogEvery)) && e.lastFullLog.CompareAndSwap(said, now) {
		e.deps.Log.Warn(why, "listen", d.service.listener.Listen, name, value)
	}
	d.worker.Timers.Set(&d.Timer, d.worker.Now.Add(AcceptPause))
}

// fullLogEvery is how often refused accepts are logged.
const fullLogEvery = 10 * time.Second

// AcceptPause is how long nothing is accepted after a refusal.
const AcceptPause = 50 * time.Millisecond

// OnTimer implements the timer's owner.
func (d *acceptor) OnTimer() {
	d.Readable = true
	d.OnReady()
}

// assign gives a connection to the loop with the fewest, unless there is a handshake first.
func (d *acceptor) assign(descriptor *fd.FD, peer netip.AddrPort) {
	s := d.service
	limitAddr := netip.Addr{}
	if !s.listener.WantsProxyHeader() { // otherwise the PROXY header says who the client is
		if why := s.listener.LimitConn(peer.Addr()); why != nil {
			s.engine.deps.Metrics.ConnRefused(why)
			descriptor.Close()
			s.engine.cfg.Places.Free()
			return
		}
		limitAddr = peer.Addr()
	}
	s.conns.Add(1)
	if s.listener.Mode == routing.ModeHTTP && s.listener.NeedsHandshake() {
		s.handshakeInBackground(descriptor, peer.Addr(), limitAddr)
		return
	}
	to := s.engine.leastLoaded(d.worker)
	to.clientConns.Add(1)
	if to == d.worker {
		to.addAccepted(s, descriptor, peer)
		return
	}
	moved := descriptor.Move()
	if !to.Call(func() { to.addAccepted(s, &moved, peer) }) {
		moved.Close()
		s.connClosed(limitAddr)
	}
}

// isTemporary reports whether a client has left before it was accepted, which is no fault of the listener.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
