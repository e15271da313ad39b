package proxy

import (
	"io"
	"net/netip"
	"os"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// tcpConn is the connection of a TCP listener's client with, once it is linked, the server's. It is one
// flight, and its lease lasts as long.
type tcpConn struct {
	linkedConn
	state       tcpState
	proxied     preface.Proxy // the client's addresses, by its PROXY header or its own
	limited     bool          // LimitConn has counted it
	clientHello []byte        // read before a server can be chosen
	exchange    exchange.Exchange
	recall      exchange.Cancellation
	tunnel      eventloop.Tunnel
	progress    eventloop.Timer
	reason      string // why it was not linked; empty: it was
}

// tcpState is the state of a tcpConn.
type tcpState uint8

const (
	tcpReadingProxyHeader tcpState = iota // reading the PROXY header
	tcpReadingSNI                         // reading the ClientHello
	tcpWaiting                            // another goroutine picks, or resolves a name
	tcpConnecting                         // connecting to the server
	tcpTunneling                          // relaying bytes both ways
	tcpClosing                            // both directions have ended; closing without loss
	tcpClosed
)

// addTCPClient adds an accepted descriptor of a TCP listener.
func (l *worker) addTCPClient(s *listenerService, descriptor *fd.FD, peer netip.AddrPort) {
	d := &tcpConn{linkedConn: linkedConn{worker: l, service: s}, proxied: preface.Proxy{Source: peer}, limited: !s.listener.WantsProxyHeader()}
	d.Conn.Owner, d.Timer.Owner, d.progress.Owner = d, d, tcpProgressTimer{d}
	if err := l.Register(&d.Conn, descriptor, eventloop.Readiness); err != nil {
		s.clientGone(l, d)
		return
	}
	s.tracked[l][d] = struct{}{}
	switch {
	case s.listener.WantsProxyHeader():
		d.setTimeout(s.listener.HeaderTimeout)
	case s.listener.RoutesByName:
		d.state = tcpReadingSNI
		d.setTimeout(s.listener.HeaderTimeout)
	default:
		d.openExchange("", nil)
	}
	if s.killed.Load() {
		d.Kill()
	}
}

// OnReady implements the owner of both connections.
func (d *tcpConn) OnReady() {
	switch d.state {
	case tcpReadingProxyHeader:
		d.readProxyHeader()
	case tcpReadingSNI:
		d.readSNI()
	case tcpWaiting:
		if d.WasReset {
			d.cancelPick(exchange.ErrClientLeft)
		}
	case tcpConnecting:
		d.startTunnel()
	case tcpTunneling:
		d.pumpTunnel()
	}
}

// OnTimer implements the timer's owner.
func (d *tcpConn) OnTimer() {
	switch d.state {
	case tcpReadingProxyHeader, tcpReadingSNI:
		d.openExchange("", os.ErrDeadlineExceeded)
	case tcpWaiting:
		d.cancelPick(exchange.ErrMasterSilent)
	case tcpConnecting:
		d.linkFailed(flight.Failure{Unreachable: true}, os.ErrDeadlineExceeded)
	case tcpTunneling:
		d.Kill()
	case tcpClosing:
		d.closeTunnel()
	}
}

// readProxyHeader reads the PROXY header and no byte more.
func (d *tcpConn) readProxyHeader() {
	for l := d.service.listener; d.state == tcpReadingProxyHeader; {
		proxied, more, err := l.ParseProxyHeader(d.proxied.Source.Addr(), d.clientHello)
		switch {
		case err != nil:
			d.openExchange("", err)
			return
		case more == 0:
			if proxied.Source.IsValid() {
				d.proxied = proxied
			}
			if why := l.LimitConn(d.proxied.Source.Addr()); why != nil {
				d.openExchange("", why)
				return
			}
			d.limited = true
			if d.clientHello = nil; !l.RoutesByName {
				d.openExchange("", nil)
				return
			}
			d.state = tcpReadingSNI
			d.readSNI()
			return
		}
		if !d.readClientHello(make([]byte, more)) {
			return
		}
	}
}

// readSNI reads until the server's name is known.
func (d *tcpConn) readSNI() {
	l := d.service.listener
	for {
		buf := d.worker.ReadBuf
		if !d.readClientHello(buf[:min(len(buf), l.HeaderLimit-len(d.clientHello))]) {
			return
		}
		if name, known, err := l.ServerName(d.clientHello); known || err != nil {
			d.openExchange(name, err)
			return
		}
	}
}

// readClientHello appends one read, through room, to clientHello. It returns false if there is nothing yet, or
// never will be.
func (d *tcpConn) readClientHello(buf []byte) bool {
	if !d.Readable {
		return false
	}
	n, err := d.Read(buf)
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		d.openExchange("", os.NewSyscallError("read", err))
		return false
	case n == 0:
		d.openExchange("", io.EOF)
		return false
	}
	d.clientHello = append(d.clientHello, buf[:n]...)
	return true
}

// openExchange asks for a server by name, unless the client's first bytes were malformed.
func (d *tcpConn) openExchange(name string, err error) {
	x, s := &d.exchange, d.service
	d.setTimeout(0)
	x.OpenTunnel(s.engine.deps, s.listener, d.proxied.Source.Addr(), name, &d.recall)
	x.Asker = d
	switch {
	case err != nil:
		s.engine.deps.Metrics.CountLimited(err)
		s.engine.deps.LogRefused(s.listener, x.ClientAddr, err)
		d.refuseConn(exchange.Refusal(err))
	case x.Route == nil:
		d.refuseConn(exchange.ReasonNoRoute)
	default:
		d.takeStep(x.Start())
	}
}

// Ask implements exchange.Asker.
func (d *tcpConn) Ask(x *exchange.Exchange) (answered bool, err error) {
	if answered, err = d.ask(d, x); !answered {
		d.state = tcpWaiting
	}
	return answered, err
}

// cancelPick cancels a pick or a dial.
func (d *tcpConn) cancelPick(cause error) { d.worker.cancelPick(&d.recall, d.asyncPick, cause) }

// onPick implements linker.
func (d *tcpConn) onPick(grant balance.Grant, err error) {
	d.setTimeout(0)
	d.takeStep(d.exchange.ResumePick(grant, err))
}

// takeStep takes the exchange's next step.
func (d *tcpConn) takeStep(step flight.Step) {
	switch step.Do {
	case flight.Wait: // a message brings the answer
	case flight.Link:
		d.connectServer()
	case flight.Respond:
		d.refuseConn(step.Answer.Reason)
	default:
		d.refuseConn(exchange.ReasonLeft)
	}
}

// refuseConn ends a connection that was not linked. Only a reset says so.
func (d *tcpConn) refuseConn(why string) {
	d.reason = why
	d.Conn.ResetClose()
	d.closeConn()
}

// connectServer connects to the granted server.
func (d *tcpConn) connectServer() {
	if d.WasReset || d.recall.ClientLeft() {
		d.recall.Cancel(exchange.ErrClientLeft)
		d.linkFailed(flight.Failure{}, exchange.ErrClientLeft)
		return
	}
	_, address := d.service.engine.dialer.Address(&d.exchange.Grant) // TLS is between client and server
	switch b, err := d.dial(d, &d.recall, upstream.Target{Address: address}); {
	case err != nil:
		d.linkFailed(notConnected(err), err)
	case b == nil:
		d.state = tcpWaiting
	default:
		d.setServer(b)
	}
}

// onDialled implements linker.
func (d *tcpConn) onDialled(b *upstream.Conn, err error) {
	if err != nil {
		d.linkFailed(notConnected(err), err)
		return
	}
	d.setServer(b)
}

func (d *tcpConn) setServer(b *upstream.Conn) {
	d.server, b.Conn.Owner = b, d
	d.state = tcpConnecting
	d.setTimeout(d.service.engine.cfg.ConnectTimeout)
	d.startTunnel()
}

// startTunnel joins both connections once the server's is made, and sends the server the PROXY header, if it
// gets one.
func (d *tcpConn) startTunnel() {
	b := d.server
	stands, err := b.IsConnected()
	switch {
	case d.WasReset || d.recall.ClientLeft():
		d.recall.Cancel(exchange.ErrClientLeft)
		d.linkFailed(flight.Failure{}, exchange.ErrClientLeft)
	case err != nil:
		d.linkFailed(notConnected(err), err)
	case stands:
		var up eventloop.SendBuffer
		if n, err := up.Write(&b.Conn, d.exchange.ProxyHeader(d.proxyFacts())); err != nil {
			d.linkFailed(flight.Failure{Sent: n > 0}, os.NewSyscallError("write", err))
			return
		}
		d.state = tcpTunneling
		d.tunnel.Start(&d.Conn, &b.Conn, eventloop.SendBuffer{}, up)
		d.tunnel.SendEarly(eventloop.ServerSide, d.clientHello)
		d.clientHello = nil
		d.setTimeout(d.service.listener.IdleTimeout)
		d.startProgressTimer()
		d.pumpTunnel()
	}
}

// proxyFacts returns the addresses for the server's PROXY header.
func (d *tcpConn) proxyFacts() preface.Proxy {
	if !d.proxied.Destination.IsValid() && d.exchange.Route.SendProxy != 0 {
		d.proxied.Destination = d.FD.LocalAddress()
	}
	return d.proxied
}

// linkFailed handles a failed link.
func (d *tcpConn) linkFailed(why flight.Failure, err error) {
	if b := d.server; b != nil {
		d.server = nil
		b.ResetClose() // a reset, since the server may have accepted it and must not count it as served
	}
	d.setTimeout(0)
	d.takeStep(d.exchange.LinkFailed(why, err))
}

// pumpTunnel moves what can be moved now.
func (d *tcpConn) pumpTunnel() {
	before, down := d.tunnel.Progress(), d.tunnel.MovedTo(eventloop.ClientSide)
	over := d.tunnel.Pump()
	if d.tunnel.MovedTo(eventloop.ClientSide) != down {
		d.exchange.ServerSent(d.worker.Now)
	}
	switch {
	case over:
		d.endTunnel()
	case d.tunnel.Progress() != before:
		d.setTimeout(d.service.listener.IdleTimeout)
	}
}

// endTunnel ends the link, whose directions have both ended.
func (d *tcpConn) endTunnel() {
	broke := d.tunnel.BrokeOff()
	d.exchange.TunnelEnded(broke == eventloop.ClientSide, broke == eventloop.ServerSide)
	d.state = tcpClosing
	d.closeTunnel()
}

// closeTunnel closes both connections, now or when that loses nothing.
func (d *tcpConn) closeTunnel() {
	if !d.tunnel.CloseGracefully(!d.recall.ClientLeft()) {
		d.setTimeout(d.tunnel.Pause)
		return
	}
	d.closeConn()
}

// closeConn records the end of the tunnel, whose connections are closed.
func (d *tcpConn) closeConn() {
	l, j := d.worker, &d.tunnel
	d.state = tcpClosed
	l.Timers.Stop(&d.Timer)
	l.Timers.Stop(&d.progress)
	d.exchange.CloseTunnel(d.reason, j.MovedTo(eventloop.ServerSide), j.MovedTo(eventloop.ClientSide))
	d.service.clientGone(l, d)
}

// limitAddr implements trackedConn.
func (d *tcpConn) limitAddr() netip.Addr {
	if !d.limited {
		return netip.Addr{}
	}
	return d.proxied.Source.Addr()
}

// beginDrain implements trackedConn: a tunnel may go on.
func (d *tcpConn) beginDrain() {}

// Kill ends the connection in any state.
func (d *tcpConn) Kill() {
	d.cancelPick(exchange.ErrClientLeft)
	switch d.state {
	case tcpReadingProxyHeader, tcpReadingSNI:
		d.openExchange("", os.ErrDeadlineExceeded)
	case tcpConnecting:
		d.linkFailed(flight.Failure{}, exchange.ErrClientLeft)
	case tcpTunneling:
		d.tunnel.Abort()
		d.endTunnel()
	case tcpClosing:
		d.closeTunnel()
	}
}
