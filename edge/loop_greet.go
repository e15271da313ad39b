package edge

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// What comes before a client's first request is done by a goroutine, if that takes more than to read it: a PROXY header,
// the handshake of TLS, the preface of HTTP/2. A loop gets the connection once it is known what it speaks.

// greeting is a client's connection until its first request. Its goroutine owns it, but for what mu guards.
type greeting struct {
	net.Conn // below TLS
	service  *loopService
	peer     netip.Addr // or whom it speaks for, once that is known
	seat     netip.Addr // for which listener.admit has taken it; invalid: for none
	secure   *sealed    // nil: no TLS
	come     []byte     // what was read, and is for the loop

	mu   sync.Mutex
	last time.Time // it must be over by then, whatever it waits for; zero: no such time
}

// greetings are those of one listener.
type greetings struct {
	serving sync.WaitGroup

	mu  sync.Mutex
	all map[*greeting]struct{}
}

// greets reports whether something comes before a client's first request.
func (l *listener) greets() bool { return l.secure != nil || l.introduces() || l.H2C }

// greet has a goroutine greet a client, who has a seat already if that is valid.
func (s *loopService) greet(descriptor *fd.FD, peer, seat netip.Addr) {
	conn, err := descriptor.Conn()
	if err != nil {
		s.over(seat) // it is lost, for want of a descriptor
		return
	}
	g := &greeting{Conn: conn, service: s, peer: peer, seat: seat}
	s.greetings.add(g)
	if s.draining.Load() {
		g.endBy(time.Now().Add(s.firstWait()))
	}
	if s.isCut.Load() {
		g.endBy(past)
	}
	s.greetings.serving.Go(func() {
		taken := g.serve()
		s.greetings.remove(g)
		if taken && s.adopt(g) {
			return
		}
		_ = conn.Close() // all that was to be said has been
		s.over(g.seat)
	})
}

func (all *greetings) add(g *greeting) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.all == nil {
		all.all = make(map[*greeting]struct{})
	}
	all.all[g] = struct{}{}
}

// remove takes one out, which nothing ends any more.
func (all *greetings) remove(g *greeting) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.all, g)
	_ = g.SetDeadline(time.Time{}) // an error is the connection's, which the loop sees
}

// endBy bounds the time of all there are.
func (all *greetings) endBy(t time.Time) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for g := range all.all {
		g.endBy(t)
	}
}

// firstWait is how long a connection that has brought no request may stay without one when the edge stops.
func (s *loopService) firstWait() time.Duration {
	return min(s.engine.edge.firstGrace(), s.listener.silentTime())
}

// past is a deadline that ends a wait at once.
var past = time.Unix(1, 0)

// endBy bounds the time that is left, for whatever the connection waits. Any goroutine may call it.
func (g *greeting) endBy(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.IsZero() || t.Before(g.last) {
		g.last = t
		_ = g.SetDeadline(t) // an error is the connection's, which its goroutine sees
	}
}

// within sets how long what follows may take.
func (g *greeting) within(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Now().Add(wait)
	if !g.last.IsZero() && g.last.Before(at) {
		at = g.last
	}
	_ = g.SetDeadline(at) // likewise
}

// serve reports whether a request may follow.
func (g *greeting) serve() bool {
	if !g.introduce() {
		return false
	}
	if g.service.listener.secure != nil {
		return g.handshake()
	}
	return !g.service.listener.H2C || g.awaitPreface()
}

// introduce learns from the PROXY header, if there is to be one, whom the connection
// speaks for, and whether that one may connect. It comes before TLS.
func (g *greeting) introduce() bool {
	l, e := g.service.listener, g.service.engine.edge
	if l.introduces() {
		g.within(l.HeaderTimeout)
		told, err := l.introduce(g.Conn, g.peer)
		if err != nil {
			e.metrics.refused(reasonPreface)
			l.tellRefused(e.cfg.Log, g.peer, err)
			g.breakOff()
			return false
		}
		if told.Source.IsValid() {
			g.peer = told.Source.Addr()
		}
	}
	if g.seat.IsValid() {
		return true
	}
	if why := l.admit(g.peer); why != nil {
		e.metrics.refused(refusal(why))
		g.breakOff()
		return false
	}
	g.seat = g.peer
	return true
}

// breakOff closes the connection by a reset, the only way to say that it is refused.
func (g *greeting) breakOff() {
	if tcp, ok := g.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // a connection that is gone needs none
	}
	_ = g.Close()
}

// handshake must be over in the time that a head may take.
func (g *greeting) handshake() bool {
	l := g.service.listener
	g.within(l.HeaderTimeout)
	g.secure = seal(g.Conn, l.secure)
	err := g.secure.tls.Handshake()
	if err == nil {
		g.secure.shown = showing(g.secure.tls)
		return true
	}
	g.service.engine.edge.cfg.Log.Debug("handshake failed", "listen", l.Listen, "client", g.peer, "err", err)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis address takes HTTPS only\n")
	}
	return false
}

// awaitPreface reads until it is certain whether the client begins with HTTP/2's preface; false: it says nothing.
func (g *greeting) awaitPreface() bool {
	l, room := g.service.listener, make([]byte, roomFirst)
	g.within(l.silentTime())
	for {
		n, err := g.Read(room[len(g.come):])
		if len(g.come) == 0 {
			g.within(l.HeaderTimeout)
		}
		g.come = room[:len(g.come)+n]
		if err != nil || len(g.come) >= len(h2.Preface) || !bytes.HasPrefix([]byte(h2.Preface), g.come) {
			return len(g.come) > 0 // if something is missing, the parser of HTTP/1 says what
		}
	}
}

// speaksHTTP2 reports what the client has agreed on, or begun with.
func (g *greeting) speaksHTTP2() bool {
	if g.secure != nil {
		return g.secure.tls.ConnectionState().NegotiatedProtocol == protoHTTP2
	}
	return bytes.HasPrefix(g.come, []byte(h2.Preface))
}

// adopt takes a connection into a loop that a goroutine has greeted; false: it cannot.
func (s *loopService) adopt(g *greeting) bool {
	two := g.speaksHTTP2()
	descriptor, err := fd.Take(g.Conn)
	if err != nil {
		return false
	}
	descriptor.SetKeepalive(&s.engine.edge.cfg.TCP) // package net has set its own
	to := s.engine.least(s.engine.all[0])
	to.connects.Add(1)
	peer, tls, come := g.peer, g.secure, slices.Clip(g.come)
	begin := func() { to.begin(s, &descriptor, peer, tls, come) }
	if two {
		begin = func() { to.beginTrunk(s, &descriptor, peer, tls, come) }
	}
	if to.post(letter{do: begin}) {
		return true
	}
	descriptor.Close()
	return false
}

// shown is what the client has shown by TLS, on its own connection or on that of its stream.
func (f *inbound) shown() *shown {
	secure := f.sealed
	if f.branch != nil {
		secure = f.branch.trunk.sealed
	}
	if secure == nil {
		return nil
	}
	return secure.shown
}
