package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// tunnels is the engine of listeners whose connections are carried as they are, from
// their first byte to their last. Each is one flight, and its lease lasts as long.
type tunnels struct {
	edge  *Edge
	pipes pipes
}

func newTunnels(e *Edge) *tunnels {
	return &tunnels{edge: e}
}

// port is one listener being served.
type port struct {
	*tunnels
	listener *listener
	open     sync.WaitGroup

	mu    sync.Mutex
	conns map[*tunnel]struct{}
}

// serve implements engine.
func (e *tunnels) serve(ctx context.Context, l *listener, nl net.Listener) error {
	p := &port{tunnels: e, listener: l, conns: make(map[*tunnel]struct{})}
	failed := make(chan error, 1)
	go func() { failed <- accept(nl, e.edge.cfg.Log, p.take) }()
	e.edge.accepts()
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(over) })
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		stopAccepting(nl, failed)
	}
	_ = nl.Close() // it has taken what it could
	stop := e.edge.afterGrace(func() { p.each((*tunnel).cutOff) })
	p.open.Wait()
	stop()
	close(over)
	watching.Wait()
	e.pipes.close()
	return err
}

func (p *port) take(nc net.Conn) {
	t := newTunnel(p, nc)
	p.mu.Lock()
	p.conns[t] = struct{}{}
	p.mu.Unlock()
	p.open.Go(func() {
		t.serve()
		p.mu.Lock()
		delete(p.conns, t)
		p.mu.Unlock()
	})
}

func (p *port) each(do func(*tunnel)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.conns {
		do(t)
	}
}

// watch looks after what no goroutine waits for.
func (p *port) watch(over <-chan struct{}) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return
		case <-ticker.C:
			now := clock.Now()
			p.each(func(t *tunnel) { t.watch(now) })
		}
	}
}

// tunnel is one client's connection and, when it is linked, the server's. The
// goroutine that serves it owns whatever has no other owner named.
type tunnel struct {
	port     *port
	client   side
	server   side
	told     preface.Proxy // whom the client's connection joins
	seated   bool          // listener.admit has taken it, by whom it joins
	exchange exchange
	recall   recall
	reason   string // why it was not linked; empty: it was
	early    []byte // what had to be read before a server could be chosen

	mu    sync.Mutex
	joint *joint // the link under way

	picking atomic.Bool
}

func newTunnel(p *port, nc net.Conn) *tunnel {
	t := &tunnel{port: p, told: preface.Proxy{Source: addrPort(nc.RemoteAddr()), Destination: addrPort(nc.LocalAddr())}}
	t.client.begin(nc)
	return t
}

func (t *tunnel) serve() {
	x := &t.exchange
	name, err := t.introduce()
	x.openTunnel(t.port.edge, t.port.listener, t.told.Source.Addr(), name, &t.recall)
	switch {
	case err != nil:
		t.reason = refusal(err)
		t.port.listener.tellRefused(t.port.edge.cfg.Log, x.client, err)
	case x.route == nil:
		t.reason = reasonNoRoute
	default:
		t.carry()
	}
	if t.reason != "" {
		breakOff(t.client.Conn) // the only way to say that it is refused
	}
	_ = t.client.Close() // it has served
	if t.seated {
		t.port.listener.unseat(t.told.Source.Addr())
	}
	var in, out int64
	if t.joint != nil {
		in, out = t.joint.moved[serverSide].Load(), t.joint.moved[clientSide].Load()
	}
	x.closeTunnel(t.reason, in, out)
}

// introduce reads what the connection says of itself first: the PROXY header and the
// server's name, where the listener wants them.
func (t *tunnel) introduce() (name string, err error) {
	l := t.port.listener
	if !l.introduces() {
		if err := t.admit(); err != nil {
			return "", err
		}
	}
	if !l.introduces() && !l.named {
		return "", nil
	}
	t.client.readUntil(time.Now().Add(l.HeaderTimeout))
	if l.introduces() {
		told, err := l.introduce(&t.client, t.told.Source.Addr())
		if err != nil {
			return "", err
		}
		if told.Source.IsValid() {
			t.told = told
		}
		if err := t.admit(); err != nil {
			return "", err
		}
	}
	if l.named {
		name, err = t.readName()
	}
	t.client.readUntil(noTime)
	return name, err
}

// admit returns why the client may not connect; nil: it may.
func (t *tunnel) admit() error {
	why := t.port.listener.admit(t.told.Source.Addr())
	t.seated = why == nil
	return why
}

var errLongHello = errors.New("a ClientHello longer than header_limit")

// readName reads until the server's name is known.
func (t *tunnel) readName() (string, error) {
	room := make([]byte, min(roomFirst, t.port.listener.HeaderLimit))
	for n := 0; ; {
		m, err := t.client.Read(room[n:])
		n += m
		t.early = room[:n]
		if err != nil {
			return "", err
		}
		switch name, known, err := t.port.listener.nameIn(t.early); {
		case known || err != nil:
			return name, err
		case n == len(room):
			room = append(room, make([]byte, min(n, t.port.listener.HeaderLimit-n))...)
		}
	}
}

// nameIn finds the server's name in what has come, when that is enough to tell. What
// speaks no TLS names none.
func (l *listener) nameIn(early []byte) (name string, known bool, err error) {
	name, whole, err := preface.ServerName(early)
	switch {
	case err == preface.ErrNoTLS:
		return "", true, nil
	case !whole && err == nil && len(early) >= l.HeaderLimit:
		return "", false, errLongHello
	}
	return name, whole, err
}

// carry takes the flight to its end.
func (t *tunnel) carry() {
	x := &t.exchange
	t.picking.Store(true)
	step := x.start()
	for step.Do == flight.Link {
		why, err := t.link()
		if err == nil {
			t.picking.Store(false)
			t.join()
			return
		}
		step = x.failed(why, err)
	}
	t.picking.Store(false)
	t.reason = reasonLeft
	if step.Do == flight.Respond {
		t.reason = step.Answer.Reason
	}
}

// link connects to the server that was granted and tells it what it is to know first.
func (t *tunnel) link() (flight.Failure, error) {
	x := &t.exchange
	_, at := x.where() // whether TLS is spoken is the client's affair
	nc, err := t.port.edge.reaches.DialContext(t.recall.context(), "tcp", at)
	if err != nil {
		return flight.Failure{Unreachable: true, Ours: exhausted(err)}, err
	}
	t.server = side{}
	t.server.begin(nc)
	if head := x.proxyHeader(t.told); len(head) > 0 {
		_ = nc.SetWriteDeadline(time.Now().Add(t.port.edge.cfg.ConnectTimeout)) // an error is the connection's
		n, err := t.server.Write(head)
		_ = nc.SetWriteDeadline(noTime)
		if err != nil {
			_ = nc.Close() // it takes nothing
			return flight.Failure{Sent: n > 0}, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recall.left() {
		_ = nc.Close() // the client has no use for it
		return flight.Failure{}, errLeft
	}
	t.joint = &joint{pipes: &t.port.pipes, sides: [2]*side{&t.client, &t.server}, early: t.early}
	return flight.Failure{}, nil
}

func (t *tunnel) join() {
	t.exchange.parted(t.joint.run())
	t.joint.settle(!t.recall.left())
	_ = t.server.Close() // it has served
}

// cutOff ends the tunnel wherever it is. Anybody may call it.
func (t *tunnel) cutOff() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recall.end(errLeft)
	t.client.cut()
	if t.joint != nil {
		t.server.cut()
	}
}

// watch looks whether the master is silent, the client has broken off, or nothing
// moves. One goroutine calls it.
func (t *tunnel) watch(now balance.Instant) {
	t.recall.expire(now)
	t.mu.Lock()
	idle := t.joint != nil && t.joint.idleFor(now) > t.port.listener.IdleTimeout
	t.mu.Unlock()
	gone := false
	if t.picking.Load() && t.client.raw != nil {
		_ = t.client.raw.Control(func(fd uintptr) { gone = broken(fd) }) // a closed one is not there to be told
	}
	if idle || gone {
		t.cutOff()
	}
}

// openTunnel begins the exchange of a tunnel whose client asks for a name.
func (x *exchange) openTunnel(e *Edge, l *listener, client netip.Addr, name string, r *recall) {
	*x = exchange{edge: e, listener: l, began: clock.Now(), recall: r, client: client}
	x.head = head{host: name, peer: client}
	x.take(l.routes.match(name, ""))
}

// proxyHeader is what the server is to be told first of whom the connection joins.
func (x *exchange) proxyHeader(told preface.Proxy) []byte {
	switch x.route.SendProxy {
	case 1:
		return told.AppendV1(nil)
	case 2:
		return told.AppendV2(nil, x.head.host)
	}
	return nil
}

// closeTunnel ends it, counts it and writes the access log. reason tells why it was not
// linked, in and out are the bytes that have gone to the server and to the client.
func (x *exchange) closeTunnel(reason string, in, out int64) {
	if x.started && !x.flight.Over() {
		x.gone()
	}
	x.count(-1)
	took, name := clock.Now().Sub(x.began), ""
	if x.route != nil {
		name = x.route.pool.name
		x.tally.enter(-1)
	}
	ended := reason
	if ended == "" {
		ended = x.result.String()
	}
	x.edge.metrics.tunnel(name, ended, in, out, took)
	if log := x.edge.cfg.AccessLog; log != nil {
		x.logTunnel(log, ended, in, out, took)
	}
}

func (x *exchange) logTunnel(log *slog.Logger, ended string, in, out int64, took time.Duration) {
	lease, pool := "", ""
	if x.grant.Lease != 0 {
		lease = x.grant.Lease.String()
	}
	if x.route != nil {
		pool = x.route.pool.name
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
		slog.String("listen", x.listener.Listen), slog.String("host", x.head.host), slog.Int64("bytes_in", in), slog.Int64("bytes_out", out),
		slog.Float64("duration_ms", milliseconds(took)), x.pickTime(),
		slog.String("pool", pool), slog.String("server", string(x.grant.Server)), slog.String("lease", lease),
		slog.String("edge", string(x.edge.cfg.ID)), slog.String("client", node(x.client)), slog.Int("attempts", x.attempts), slog.String("ended", ended))
}
