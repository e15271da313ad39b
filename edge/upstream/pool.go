package upstream

import (
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Pool is the connections of a loop to servers. The loop goroutine owns it. Idle plain ones are separate, since
// a map by targets costs each request more.
type Pool struct {
	loop   *eventloop.Loop
	dialer *Dialer

	plain map[string]*idleConns // by address
	byTLS map[Target]*idleConns

	h2          *h2conn.Shared
	h2Conns     map[Target]*h2Conns
	freeStreams []*stream // for later streams
}

// Init makes an empty pool.
func (p *Pool) Init(l *eventloop.Loop, shared *h2conn.Shared, d *Dialer) {
	p.loop, p.h2, p.dialer = l, shared, d
	p.plain, p.byTLS, p.h2Conns = make(map[string]*idleConns), make(map[Target]*idleConns), make(map[Target]*h2Conns)
}

// listOf returns the connections to a target; nil: there are none.
func (p *Pool) listOf(to *Target) *idleConns {
	if to.TLS == nil {
		return p.plain[to.Address]
	}
	return p.byTLS[*to]
}

// putList sets the list of a target.
func (p *Pool) putList(to *Target, list *idleConns) {
	if to.TLS == nil {
		p.plain[to.Address] = list
	} else {
		p.byTLS[*to] = list
	}
}

// dropList removes the list of a target.
func (p *Pool) dropList(to *Target) {
	if to.TLS == nil {
		delete(p.plain, to.Address)
	} else {
		delete(p.byTLS, *to)
	}
}

// Close closes all connections.
func (p *Pool) Close() {
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
		b.Drop()
	}
}

// idleConns is the idle connections to one target.
type idleConns struct {
	conns   []*Conn // the last used at the end
	dropped bool    // the pool has removed it
}

// Get returns the connection to a target that was used last; nil: none is kept.
func (p *Pool) Get(to Target) *Conn {
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

// Put takes back a connection whose last response was read to its end, and nothing beyond it.
func (p *Pool) Put(b *Conn) {
	if b.Stream != nil {
		b.User = nil
		b.Stream.Release()
		return
	}
	if b.Readable { // the last read was full, so there may be more
		var one [1]byte
		if _, err := b.Read(one[:]); err != syscall.EAGAIN {
			b.Drop()
			return
		}
	}
	list := p.listFor(b)
	if b.PeerClosed || b.HasUnsent() || len(list.conns) >= MaxIdleConns {
		b.SendCloseNotify()
		b.Drop()
		return
	}
	b.User, b.reused = nil, true
	list.conns = append(list.conns, b)
	p.loop.Timers.Set(&b.Timer, p.loop.Now.Add(IdleTimeout))
}

// listFor returns the list for a connection.
func (p *Pool) listFor(b *Conn) *idleConns {
	if b.idleIn == nil || b.idleIn.dropped {
		if b.idleIn = p.listOf(&b.to); b.idleIn == nil {
			b.idleIn = new(idleConns)
			p.putList(&b.to, b.idleIn)
		}
	}
	return b.idleIn
}

func (p *Pool) remove(b *Conn) {
	list := p.listFor(b)
	if i := slices.Index(list.conns, b); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if len(list.conns) == 0 {
		list.dropped = true
		p.dropList(&b.to)
	}
}

// Add makes a connection of a descriptor, which it moves, and of its TLS, if any.
func (p *Pool) Add(descriptor *fd.FD, secure *eventloop.TLSConn, to Target) (*Conn, error) {
	b := &Conn{to: to, pool: p}
	b.Conn.Owner, b.Timer.Owner, b.IsServer = b, b, true
	if err := p.loop.Register(&b.Conn, descriptor, eventloop.Readiness); err != nil {
		return nil, err
	}
	b.UseTLS(secure)
	return b, nil
}

const (
	// IdleTimeout is how long an idle server connection is kept. Many servers close theirs after 5 s; a
	// request that crosses the close is lost unless it can be sent again, so we close first.
	IdleTimeout = 4 * time.Second
	// MaxIdleConns is how many idle connections a loop keeps to one address.
	MaxIdleConns = 256
)
