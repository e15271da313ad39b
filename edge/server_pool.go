package edge

import (
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// serverPool is the connections of a loop to servers. The loop goroutine owns it. Idle plain ones are separate, since
// a map by targets costs each request more.
type serverPool struct {
	loop   *eventloop.Loop
	dialer *serverDialer

	plain map[string]*idleConns // by address
	byTLS map[target]*idleConns

	h2          *h2conn.Shared
	h2Conns     map[target]*h2ConnList
	freeStreams []*serverStream // for later streams
}

// init makes an empty pool.
func (p *serverPool) init(l *eventloop.Loop, shared *h2conn.Shared, d *serverDialer) {
	p.loop, p.h2, p.dialer = l, shared, d
	p.plain, p.byTLS, p.h2Conns = make(map[string]*idleConns), make(map[target]*idleConns), make(map[target]*h2ConnList)
}

// listOf returns the connections to a target; nil: there are none.
func (p *serverPool) listOf(to *target) *idleConns {
	if to.tls == nil {
		return p.plain[to.address]
	}
	return p.byTLS[*to]
}

// putList sets the list of a target.
func (p *serverPool) putList(to *target, list *idleConns) {
	if to.tls == nil {
		p.plain[to.address] = list
	} else {
		p.byTLS[*to] = list
	}
}

// dropList removes the list of a target.
func (p *serverPool) dropList(to *target) {
	if to.tls == nil {
		delete(p.plain, to.address)
	} else {
		delete(p.byTLS, *to)
	}
}

// close closes all connections.
func (p *serverPool) close() {
	for _, list := range p.plain {
		list.close()
	}
	for _, list := range p.byTLS {
		list.close()
	}
	p.closeH2Conns()
}

func (list *idleConns) close() {
	for _, b := range list.conns {
		b.SendCloseNotify()
		b.drop()
	}
}

// idleConns is the idle connections to one target.
type idleConns struct {
	conns   []*serverConn // the last used at the end
	dropped bool          // the pool has removed it
}

// get returns the connection to a target that was used last; nil: none is kept.
func (p *serverPool) get(to target) *serverConn {
	list := p.listOf(&to)
	if list == nil || len(list.conns) == 0 {
		return nil
	}
	n := len(list.conns) - 1
	b := list.conns[n]
	list.conns[n] = nil
	list.conns = list.conns[:n]
	b.Due = 0
	return b
}

// put takes back a connection whose last response was read to its end, and nothing beyond it.
func (p *serverPool) put(b *serverConn) {
	if b.stream != nil {
		b.user = nil
		b.stream.Release()
		return
	}
	if b.Readable { // the last read was full, so there may be more
		var one [1]byte
		if _, err := b.Read(one[:]); err != syscall.EAGAIN {
			b.drop()
			return
		}
	}
	list := p.listFor(b)
	if b.PeerClosed || b.HasUnsent() || len(list.conns) >= maxIdleConns {
		b.SendCloseNotify()
		b.drop()
		return
	}
	b.user, b.reused = nil, true
	list.conns = append(list.conns, b)
	p.loop.Timers.Set(&b.Timer, p.loop.Now.Add(idleTimeout))
}

// listFor returns the list for a connection.
func (p *serverPool) listFor(b *serverConn) *idleConns {
	if b.idleIn == nil || b.idleIn.dropped {
		if b.idleIn = p.listOf(&b.to); b.idleIn == nil {
			b.idleIn = new(idleConns)
			p.putList(&b.to, b.idleIn)
		}
	}
	return b.idleIn
}

func (p *serverPool) remove(b *serverConn) {
	list := p.listFor(b)
	if i := slices.Index(list.conns, b); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if len(list.conns) == 0 {
		list.dropped = true
		p.dropList(&b.to)
	}
}

// add makes a connection of a descriptor, which it moves, and of its TLS, if any.
func (p *serverPool) add(descriptor *fd.FD, secure *eventloop.TLSConn, to target) (*serverConn, error) {
	b := &serverConn{to: to, pool: p}
	b.Conn.Owner, b.Timer.Owner, b.IsServer = b, b, true
	if err := p.loop.Register(&b.Conn, descriptor, eventloop.Readiness); err != nil {
		return nil, err
	}
	b.UseTLS(secure)
	return b, nil
}

const (
	// idleTimeout is how long an idle server connection is kept. Many servers close theirs after 5 s; a
	// request that crosses the close is lost unless it can be sent again, so we close first.
	idleTimeout = 4 * time.Second
	// maxIdleConns is how many idle connections a loop keeps to one address.
	maxIdleConns = 256
)
