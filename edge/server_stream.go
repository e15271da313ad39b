package edge

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
)

// h2ConnList is the connections to one target that open new streams, or will.
type h2ConnList struct {
	pool   *serverPool
	key    target
	server serverRef
	conns  []*h2ClientConn
	limit  int // concurrent streams of one of them; zero: not known yet
}

// openStream returns a stream of a connection to a server, which it makes if there is none with room. Another address
// of the same server is then used no more. once: the request cannot be repeated.
func (p *serverPool) openStream(to target, of serverRef, once bool) (*serverConn, error) {
	list := p.h2Conns[to]
	if list == nil {
		list = &h2ConnList{pool: p, key: to, server: of}
		p.h2Conns[to] = list
		p.drainStale(of, to)
	}
	for _, k := range list.conns {
		if k.hasRoom(once) {
			return p.newStream(k), nil
		}
	}
	k := new(h2ClientConn)
	k.init(p.h2, &p.dialer.h2, list, list.limit)
	list.conns = append(list.conns, k)
	if err := list.dial(k); err != nil {
		k.abandon()
		return nil, err
	}
	return p.newStream(k), nil
}

// dial begins the dial: on a goroutine, if a name has to be resolved or a TLS handshake made.
func (list *h2ConnList) dial(k *h2ClientConn) error {
	p, d, key := list.pool, list.pool.dialer, &list.key
	if key.tls == nil {
		descriptor, err := d.connect(key.address)
		if err != nil {
			return err
		}
		if descriptor.IsOpen() {
			return k.attach(&descriptor)
		}
	}
	p.dialInBackground(k.dialContext(), list.key, k.connected)
	return nil
}

// serverRef names a server, whatever its address.
type serverRef struct {
	pool   string
	server balance.ServerID
}

// opened implements h2Keeper.
func (list *h2ConnList) opened(streams int) { list.limit = streams }

// drained implements h2Keeper.
func (list *h2ConnList) drained(k *h2ClientConn) {
	if i := slices.Index(list.conns, k); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if h2Conns := list.pool.h2Conns; len(list.conns) == 0 && h2Conns[list.key] == list {
		delete(h2Conns, list.key)
	}
}

// protocolError implements h2Keeper.
func (list *h2ConnList) protocolError(err error) {
	list.pool.dialer.log.Debug("connection to a server given up", "address", list.key.address, "err", err)
}

// closeH2Conns closes all HTTP/2 connections.
func (p *serverPool) closeH2Conns() {
	for _, list := range p.h2Conns {
		for _, k := range slices.Clone(list.conns) {
			k.closeWith(nil)
		}
	}
	p.loop.Owners(func(o eventloop.Owner) { // draining ones are in no list
		if k, ok := o.(*h2ClientConn); ok {
			k.closeWith(nil)
		}
	})
}

// serverStream is a stream of an HTTP/2 connection to a server, to its link a serverConn like any other.
type serverStream struct {
	serverConn
	h2ClientStream
}

const maxFreeServerStreams = 1024 // kept for later streams

// newStream adds a stream to a connection.
func (p *serverPool) newStream(k *h2ClientConn) *serverConn {
	var s *serverStream
	if n := len(p.freeStreams); n > 0 {
		s, p.freeStreams = p.freeStreams[n-1], p.freeStreams[:n-1]
	} else {
		s = new(serverStream)
	}
	b, queued := &s.serverConn, s.serverConn.Deferred
	*b = serverConn{pool: p, stream: &s.h2ClientStream, connecting: true}
	b.Deferred = queued
	k.newStream(&s.h2ClientStream, &b.Conn, s)
	return b
}

// OnReady implements the conn's owner.
func (s *serverStream) OnReady() {
	if s.serverConn.user != nil {
		s.serverConn.user.OnReady()
	}
}

// tryAnother implements h2ClientUser.
func (s *serverStream) tryAnother() { s.serverConn.user.tryAnother() }

// recycled implements h2ClientUser.
func (s *serverStream) recycled() {
	s.serverConn.user = nil
	if p := s.pool; len(p.freeStreams) < maxFreeServerStreams {
		p.freeStreams = append(p.freeStreams, s)
	}
}

// drainStale drains connections to a server's earlier address.
func (p *serverPool) drainStale(of serverRef, now target) {
	for key, list := range p.h2Conns {
		if list.server != of || key == now {
			continue
		}
		for len(list.conns) > 0 {
			list.conns[0].drain()
		}
	}
}
