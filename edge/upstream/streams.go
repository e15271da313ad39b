package upstream

import (
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
)

// h2Conns is the connections to one target that open new streams, or will.
type h2Conns struct {
	pool   *Pool
	key    Target
	server ServerRef
	conns  []*h2conn.ClientConn
	limit  int // concurrent streams of one of them; zero: not known yet
}

// OpenStream returns a stream of a connection to a server, which it makes if there is none with room. Another address
// of the same server is then used no more. once: the request cannot be repeated.
func (p *Pool) OpenStream(to Target, of ServerRef, once bool) (*Conn, error) {
	list := p.h2Conns[to]
	if list == nil {
		list = &h2Conns{pool: p, key: to, server: of}
		p.h2Conns[to] = list
		p.drainStale(of, to)
	}
	for _, k := range list.conns {
		if k.HasRoom(once) {
			return p.newStream(k), nil
		}
	}
	k := new(h2conn.ClientConn)
	k.Init(p.h2, &p.dialer.H2, list, list.limit)
	list.conns = append(list.conns, k)
	if err := list.dial(k); err != nil {
		k.Abandon()
		return nil, err
	}
	return p.newStream(k), nil
}

// dial begins the dial: on a goroutine, if a name has to be resolved or a TLS handshake made.
func (list *h2Conns) dial(k *h2conn.ClientConn) error {
	p, d, key := list.pool, list.pool.dialer, &list.key
	if key.TLS == nil {
		descriptor, err := d.connect(key.Address)
		if err != nil {
			return err
		}
		if descriptor.IsOpen() {
			return k.Attach(&descriptor)
		}
	}
	p.DialInBackground(k.DialContext(), list.key, k.Connected)
	return nil
}

// ServerRef names a server, whatever its address.
type ServerRef struct {
	Pool   string
	Server balance.ServerID
}

// Opened implements h2conn.Keeper.
func (list *h2Conns) Opened(streams int) { list.limit = streams }

// Drained implements h2conn.Keeper.
func (list *h2Conns) Drained(k *h2conn.ClientConn) {
	if i := slices.Index(list.conns, k); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if h2Conns := list.pool.h2Conns; len(list.conns) == 0 && h2Conns[list.key] == list {
		delete(h2Conns, list.key)
	}
}

// ProtocolError implements h2conn.Keeper.
func (list *h2Conns) ProtocolError(err error) {
	list.pool.dialer.Log.Debug("connection to a server given up", "address", list.key.Address, "err", err)
}

// closeH2Conns closes all HTTP/2 connections.
func (p *Pool) closeH2Conns() {
	for _, list := range p.h2Conns {
		for _, k := range slices.Clone(list.conns) {
			k.CloseWith(nil)
		}
	}
	p.loop.Owners(func(o eventloop.Owner) { // draining ones are in no list
		if k, ok := o.(*h2conn.ClientConn); ok {
			k.CloseWith(nil)
		}
	})
}

// stream is a stream of an HTTP/2 connection to a server, to its link a Conn like any other.
type stream struct {
	server Conn
	h2     h2conn.ClientStream
}

const maxFreeServerStreams = 1024 // kept for later streams

// newStream adds a stream to a connection.
func (p *Pool) newStream(k *h2conn.ClientConn) *Conn {
	var s *stream
	if n := len(p.freeStreams); n > 0 {
		s, p.freeStreams = p.freeStreams[n-1], p.freeStreams[:n-1]
	} else {
		s = new(stream)
	}
	b, queued := &s.server, s.server.Deferred
	*b = Conn{pool: p, Stream: &s.h2, Connecting: true}
	b.Deferred = queued
	k.NewStream(&s.h2, &b.Conn, s)
	return b
}

// OnReady implements the conn's owner.
func (s *stream) OnReady() {
	if s.server.User != nil {
		s.server.User.OnReady()
	}
}

// TryAnother implements h2conn.ClientUser.
func (s *stream) TryAnother() { s.server.User.TryAnother() }

// Recycled implements h2conn.ClientUser.
func (s *stream) Recycled() {
	s.server.User = nil
	if p := s.server.pool; len(p.freeStreams) < maxFreeServerStreams {
		p.freeStreams = append(p.freeStreams, s)
	}
}

// drainStale drains connections to a server's earlier address.
func (p *Pool) drainStale(of ServerRef, now Target) {
	for key, list := range p.h2Conns {
		if list.server != of || key == now {
			continue
		}
		for len(list.conns) > 0 {
			list.conns[0].Drain()
		}
	}
}
