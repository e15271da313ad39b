package edge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// serverConn is a connection to a server. One link at a time uses it. In between it is kept and watched, so
// one that the server has closed is never used.
type serverConn struct {
	conn
	timer
	to         target
	idleIn     *idleConns  // where it was kept last; nil: nowhere yet
	client     *clientConn // nil: no link uses it
	reused     bool        // it has carried a response
	sentBefore int64       // conn.sentBytes when the current request began
	connecting bool
}

// idlePool is the idle server connections of a loop. Plain ones are separate, since a map by targets costs
// each request more.
type idlePool struct {
	plain map[string]*idleConns // by address
	byTLS map[target]*idleConns
}

func newIdlePool() idlePool {
	return idlePool{make(map[string]*idleConns), make(map[target]*idleConns)}
}

// listOf returns the connections to a target; nil: there are none.
func (p *idlePool) listOf(to *target) *idleConns {
	if to.tls == nil {
		return p.plain[to.address]
	}
	return p.byTLS[*to]
}

// putList sets the list of a target.
func (p *idlePool) putList(to *target, list *idleConns) {
	if to.tls == nil {
		p.plain[to.address] = list
	} else {
		p.byTLS[*to] = list
	}
}

// dropList removes the list of a target.
func (p *idlePool) dropList(to *target) {
	if to.tls == nil {
		delete(p.plain, to.address)
	} else {
		delete(p.byTLS, *to)
	}
}

// close closes all of them.
func (p *idlePool) close() {
	for _, list := range p.plain {
		list.close()
	}
	for _, list := range p.byTLS {
		list.close()
	}
}

func (list *idleConns) close() {
	for _, b := range list.conns {
		b.sendCloseNotify()
		b.close()
	}
}

// idleConns is the idle connections to one target.
type idleConns struct {
	conns   []*serverConn // the last used at the end
	dropped bool          // the pool has removed it
}

// onReady implements the conn's owner.
func (b *serverConn) onReady() {
	switch {
	case b.client != nil:
		b.client.onReady()
	case b.readable && b.tls != nil && !b.hup && b.tls.nothingToRead(): // a session ticket, or a part of a record
	case b.readable: // unasked bytes, or a hang-up
		b.loop.idle.remove(b)
		b.close()
	}
}

// onTimer implements the timer's owner: it was idle for too long.
func (b *serverConn) onTimer() {
	if b.client == nil && b.isOpen() {
		b.loop.idle.remove(b)
		b.sendCloseNotify()
		b.close()
	}
}

func (b *serverConn) close() {
	if b.isOpen() {
		b.loop.timers.stop(&b.timer)
		b.conn.close()
	}
}

// get returns the connection to a target that was used last; nil: none is kept.
func (p *idlePool) get(to target) *serverConn {
	list := p.listOf(&to)
	if list == nil || len(list.conns) == 0 {
		return nil
	}
	n := len(list.conns) - 1
	b := list.conns[n]
	list.conns[n] = nil
	list.conns = list.conns[:n]
	b.due = 0
	return b
}

// keepIdle keeps a connection whose last response was read to its end, and nothing beyond it.
func (l *loop) keepIdle(b *serverConn) {
	if b.clientStream != nil {
		b.clientStream.release()
		return
	}
	if b.readable { // the last read was full, so there may be more
		var one [1]byte
		if _, err := b.read(one[:]); err != syscall.EAGAIN {
			b.close()
			return
		}
	}
	list := l.idle.listFor(b)
	if b.hup || b.pendingAt != 0 || b.unsentTail != nil || len(list.conns) >= maxIdleConns {
		b.sendCloseNotify()
		b.close()
		return
	}
	b.client, b.reused = nil, true
	list.conns = append(list.conns, b)
	l.timers.set(&b.timer, l.now.Add(upstreamIdle))
}

// listFor returns the list for a connection.
func (p *idlePool) listFor(b *serverConn) *idleConns {
	if b.idleIn == nil || b.idleIn.dropped {
		if b.idleIn = p.listOf(&b.to); b.idleIn == nil {
			b.idleIn = new(idleConns)
			p.putList(&b.to, b.idleIn)
		}
	}
	return b.idleIn
}

func (p *idlePool) remove(b *serverConn) {
	list := p.listFor(b)
	if i := slices.Index(list.conns, b); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if len(list.conns) == 0 {
		list.dropped = true
		p.dropList(&b.to)
	}
}

// hasUnasked reports whether part of something has come from a server that was not asked.
func (b *serverConn) hasUnasked() bool {
	return b.prefetched != nil || b.tls != nil && b.tls.inRecord()
}

// fit reports whether a kept connection can be used for a request that can be repeated, or for any.
func (b *serverConn) fit(repeatable bool) bool {
	if fd.ReadsAhead && b.tls != nil && !b.tls.nothingToRead() { // a session ticket is nothing
		return false
	}
	return !b.hasUnasked() && (repeatable && !fd.ReadsAhead || b.nothingToRead())
}

// nothingToRead reports whether nothing has come that was not read, nor the end.
func (c *conn) nothingToRead() bool {
	if c.prefetched != nil {
		return false
	}
	return c.fd.NothingToRead()
}

// dial begins a connection; onReady is called when it is made or has failed. nil and no error: it takes a
// goroutine, as for a name or TLS.
func (l *loop) dial(to target) (*serverConn, error) {
	if to.tls != nil {
		return nil, nil
	}
	descriptor, err := l.engine.connect(to.address)
	if err != nil || !descriptor.IsOpen() {
		return nil, err
	}
	b, err := l.addServerConn(&descriptor, nil, to)
	if b != nil {
		b.connecting = true
	}
	return b, err
}

// connect begins a connection. A closed descriptor and no error: it takes a goroutine, as for a name.
func (e *loopEngine) connect(address string) (fd.FD, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Addr().Zone() != "" {
		return e.connectByName(address)
	}
	if err := e.edge.cfg.Inside.Refuse(at); err != nil {
		return fd.FD{}, err
	}
	return fd.Connect(at, &e.edge.cfg.TCP)
}

// addServerConn makes a server connection of a descriptor, which it moves, and of its TLS, if any.
func (l *loop) addServerConn(descriptor *fd.FD, secure *tlsConn, to target) (*serverConn, error) {
	b := &serverConn{to: to}
	b.conn.owner, b.timer.owner, b.isServer = b, b, true
	if err := l.register(&b.conn, descriptor, readiness); err != nil {
		return nil, err
	}
	b.useTLS(secure)
	return b, nil
}

// isConnected reports whether a begun connection is made; false and no error: not yet.
func (b *serverConn) isConnected() (bool, error) {
	switch {
	case !b.connecting:
		return true, nil
	case b.clientStream != nil:
		return b.clientStream.isReady()
	case !b.writable:
		return false, nil
	}
	if err := b.fd.Connected(); err != nil {
		return false, err
	}
	b.connecting = false
	return true, nil
}

// dialInBackground makes a connection on a goroutine, because a name has to be resolved or a handshake made.
// then runs on the loop; it moves the descriptor or has it closed.
func (l *loop) dialInBackground(ctx context.Context, to target, then func(descriptor *fd.FD, secure *tlsConn, err error)) {
	e := l.engine
	e.background.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, e.edge.cfg.ConnectTimeout)
		defer cancel()
		descriptor, secure, err := e.dialBlocking(ctx, &to)
		if !l.post(message{do: func() { then(&descriptor, secure, err); descriptor.Close() }}) {
			descriptor.Close()
		}
	})
}

const (
	// upstreamIdle is how long an idle server connection is kept. Many servers close theirs after 5 s; a
	// request that crosses the close is lost unless it can be sent again, so we close first.
	upstreamIdle = 4 * time.Second
	// maxIdleConns is how many idle connections a loop keeps to one address.
	maxIdleConns = 256
)

// exhausted reports whether the edge's own machine has run out of a resource. That says nothing about the
// server, and another one would not help.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
