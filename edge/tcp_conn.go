package edge

import (
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// tcpConn is a tunnel in a loop: the connection of a TCP listener's client and, when it is
// linked, the server's. It is one flight, and its lease lasts as long.
type tcpConn struct {
	conn
	timer
	service     *listenerService
	state       tcpState
	proxied     preface.Proxy // whom the client's connection joins
	limited     bool          // listener.admit has taken it, by whom it joins
	clientHello []byte        // what had to be read before a server could be chosen
	exchange    exchange
	recall      cancellation
	asyncPick   *asyncPick  // that is on its way, while pending; nil: a goroutine asks
	server      *serverConn // of the link under way
	tunnel      tunnel
	progress    timer
	reason      string // why it was not linked; empty: it was
}

// tcpState is what a tunnel is about.
type tcpState uint8

const (
	tcpReadingProxyHeader tcpState = iota // its client says whom it speaks for
	tcpReadingSNI                         // its client says whom it wants
	tcpWaiting                            // another goroutine asks the master, or looks a name up
	tcpConnecting                         // a server is being reached
	tcpTunneling                          // bytes go both ways
	tcpClosing                            // they do no more, but what was sent is not broken off
	tcpClosed
)

// addTCPClient makes a tunnel of an accepted descriptor.
func (l *loop) addTCPClient(s *listenerService, descriptor *fd.FD, peer netip.AddrPort) {
	d := &tcpConn{service: s, proxied: preface.Proxy{Source: peer}, limited: !s.listener.wantsProxyHeader()}
	d.conn.owner, d.timer.owner, d.progress.owner = d, d, tcpProgressTimer{d}
	if err := l.register(&d.conn, descriptor, readiness); err != nil {
		s.clientGone(l, d)
		return
	}
	s.tracked[l][d] = struct{}{}
	switch {
	case s.listener.wantsProxyHeader():
		d.setTimeout(s.listener.HeaderTimeout)
	case s.listener.routesByName:
		d.state = tcpReadingSNI
		d.setTimeout(s.listener.HeaderTimeout)
	default:
		d.openExchange("", nil)
	}
	if s.killed.Load() {
		d.kill()
	}
}

// setTimeout sets the time by which something must have happened; zero: none.
func (d *tcpConn) setTimeout(wait time.Duration) { d.loop.timers.set(&d.timer, d.loop.deadline(wait)) }

// onReady implements the owner of both ends: do what can be done now.
func (d *tcpConn) onReady() {
	switch d.state {
	case tcpReadingProxyHeader:
		d.readProxyHeader()
	case tcpReadingSNI:
		d.readSNI()
	case tcpWaiting:
		if d.wasReset {
			d.cancelPick(errClientLeft)
		}
	case tcpConnecting:
		d.startTunnel()
	case tcpTunneling:
		d.pumpTunnel()
	}
}

// onTimer implements the timer's owner: something did not happen in time.
func (d *tcpConn) onTimer() {
	switch d.state {
	case tcpReadingProxyHeader, tcpReadingSNI:
		d.openExchange("", os.ErrDeadlineExceeded)
	case tcpWaiting:
		d.cancelPick(errMasterSilent)
	case tcpConnecting:
		d.linkFailed(flight.Failure{Unreachable: true}, os.ErrDeadlineExceeded)
	case tcpTunneling:
		d.kill()
	case tcpClosing:
		d.closeTunnel()
	}
}

// readProxyHeader reads the PROXY header, and no byte more.
func (d *tcpConn) readProxyHeader() {
	for l := d.service.listener; d.state == tcpReadingProxyHeader; {
		told, more, err := l.parseProxyHeader(d.proxied.Source.Addr(), d.clientHello)
		switch {
		case err != nil:
			d.openExchange("", err)
			return
		case more == 0:
			if told.Source.IsValid() {
				d.proxied = told
			}
			if why := l.limitConn(d.proxied.Source.Addr()); why != nil {
				d.openExchange("", why)
				return
			}
			d.limited = true
			if d.clientHello = nil; !l.routesByName {
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
		room := d.loop.readBuf
		if !d.readClientHello(room[:min(len(room), l.HeaderLimit-len(d.clientHello))]) {
			return
		}
		if name, known, err := l.serverName(d.clientHello); known || err != nil {
			d.openExchange(name, err)
			return
		}
	}
}

// readClientHello reads more of what comes first, by way of room; false: there is none yet, or
// there will be none.
func (d *tcpConn) readClientHello(room []byte) bool {
	if !d.readable {
		return false
	}
	n, err := d.read(room)
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
	d.clientHello = append(d.clientHello, room[:n]...)
	return true
}

// openExchange asks for a server, by the name that the client has asked for, unless what it
// said of itself made no sense.
func (d *tcpConn) openExchange(name string, err error) {
	x, s := &d.exchange, d.service
	d.setTimeout(0)
	x.openTunnel(s.engine.edge, s.listener, d.proxied.Source.Addr(), name, &d.recall)
	x.asker = d
	switch {
	case err != nil:
		s.listener.logRefused(s.engine.edge.cfg.Log, x.client, err)
		d.refuseConn(refusal(err))
	case x.route == nil:
		d.refuseConn(reasonNoRoute)
	default:
		d.takeStep(x.start())
	}
}

// ask implements asker.
func (d *tcpConn) ask(x *exchange) (answered bool, err error) {
	if answered, err = d.loop.startPick(d, x); !answered {
		d.state = tcpWaiting
		d.loop.timers.set(&d.timer, x.request.Deadline.Add(askGrace))
	}
	return answered, err
}

// cancelPick ends an ask, or a look-up.
func (d *tcpConn) cancelPick(cause error) { d.loop.cancelPick(&d.recall, d.asyncPick, cause) }

// setAsyncPick implements waiter.
func (d *tcpConn) setAsyncPick(q *asyncPick) { d.asyncPick = q }

// onPick implements waiter.
func (d *tcpConn) onPick(grant balance.Grant, err error) {
	d.setTimeout(0)
	d.takeStep(d.exchange.resumePick(grant, err))
}

// takeStep takes the exchange's next step.
func (d *tcpConn) takeStep(step flight.Step) {
	switch step.Do {
	case flight.Wait: // the answer comes by letter
	case flight.Link:
		d.connectServer()
	case flight.Respond:
		d.refuseConn(step.Answer.Reason)
	default:
		d.refuseConn(reasonLeft)
	}
}

// refuseConn ends a tunnel that was not linked. A reset is the only way to say so.
func (d *tcpConn) refuseConn(why string) {
	d.reason = why
	d.conn.resetClose()
	d.closeConn()
}

// connectServer makes the connection to the server that was granted.
func (d *tcpConn) connectServer() {
	if d.wasReset || d.recall.clientLeft() {
		d.recall.cancel(errClientLeft)
		d.linkFailed(flight.Failure{}, errClientLeft)
		return
	}
	_, address := d.exchange.serverAddr() // whether TLS is spoken is the client's affair
	to := target{address: address}
	switch b, err := d.loop.dial(to); {
	case err != nil:
		d.linkFailed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
	case b == nil:
		d.state = tcpWaiting
		d.setTimeout(0)
		d.loop.dialInBackground(d.recall.context(), to, func(descriptor *fd.FD, _ *tlsConn, err error) { d.serverDialled(descriptor, to, err) })
	default:
		d.setServer(b)
	}
}

// serverDialled goes on with a connection that was made elsewhere.
func (d *tcpConn) serverDialled(descriptor *fd.FD, to target, err error) {
	var b *serverConn
	if err == nil {
		b, err = d.loop.addServerConn(descriptor, nil, to)
	}
	if err != nil {
		d.linkFailed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
	d.setServer(b)
}

func (d *tcpConn) setServer(b *serverConn) {
	d.server, b.conn.owner = b, d
	d.state = tcpConnecting
	d.setTimeout(d.service.engine.edge.cfg.ConnectTimeout)
	d.startTunnel()
}

// startTunnel joins the two once the connection to the server stands, and the server has been
// told what it is to know first.
func (d *tcpConn) startTunnel() {
	b := d.server
	stands, err := b.isConnected()
	switch {
	case d.wasReset || d.recall.clientLeft():
		d.recall.cancel(errClientLeft)
		d.linkFailed(flight.Failure{}, errClientLeft)
	case err != nil:
		d.linkFailed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
	case stands:
		var up sendBuffer
		if n, err := up.write(&b.conn, d.exchange.proxyHeader(d.proxyFacts())); err != nil {
			d.linkFailed(flight.Failure{Sent: n > 0}, os.NewSyscallError("write", err))
			return
		}
		d.state = tcpTunneling
		d.tunnel.start(&d.conn, &b.conn, sendBuffer{}, up)
		d.tunnel.sendEarly(serverSide, d.clientHello)
		d.clientHello = nil
		d.setTimeout(d.service.listener.IdleTimeout)
		d.startProgressTimer()
		d.pumpTunnel()
	}
}

// proxyFacts tells whom the client's connection joins.
func (d *tcpConn) proxyFacts() preface.Proxy {
	if !d.proxied.Destination.IsValid() && d.exchange.route.SendProxy != 0 {
		d.proxied.Destination = d.fd.LocalAddress()
	}
	return d.proxied
}

// linkFailed says that the link came to nothing, and tries what follows from that.
func (d *tcpConn) linkFailed(why flight.Failure, err error) {
	if b := d.server; b != nil {
		d.server = nil
		b.resetClose() // it may have been taken already, by a server that must not think it has served
	}
	d.setTimeout(0)
	d.takeStep(d.exchange.linkFailed(why, err))
}

// pumpTunnel moves what can be moved now.
func (d *tcpConn) pumpTunnel() {
	before, down := d.tunnel.progress(), d.tunnel.movedTo(clientSide)
	over := d.tunnel.pump()
	if d.tunnel.movedTo(clientSide) != down {
		d.exchange.serverSent(d.loop.now)
	}
	switch {
	case over:
		d.endTunnel()
	case d.tunnel.progress() != before:
		d.setTimeout(d.service.listener.IdleTimeout)
	}
}

// endTunnel ends the link, of which nothing is left to be carried.
func (d *tcpConn) endTunnel() {
	d.exchange.tunnelEnded(d.tunnel.brokeOff())
	d.state = tcpClosing
	d.closeTunnel()
}

// closeTunnel closes both connections, now or when that loses nothing.
func (d *tcpConn) closeTunnel() {
	if !d.tunnel.closeGracefully(!d.recall.clientLeft()) {
		d.setTimeout(d.tunnel.pause)
		return
	}
	d.closeConn()
}

// closeConn ends a tunnel both of whose ends are closed.
func (d *tcpConn) closeConn() {
	l, j := d.loop, &d.tunnel
	d.state = tcpClosed
	l.timers.stop(&d.timer)
	l.timers.stop(&d.progress)
	d.exchange.closeTunnel(d.reason, j.movedTo(serverSide), j.movedTo(clientSide))
	d.service.clientGone(l, d)
}

// limitAddr implements member.
func (d *tcpConn) limitAddr() netip.Addr {
	if !d.limited {
		return netip.Addr{}
	}
	return d.proxied.Source.Addr()
}

// beginDrain implements member: a tunnel may take its time.
func (d *tcpConn) beginDrain() {}

// kill ends the tunnel wherever it is.
func (d *tcpConn) kill() {
	d.cancelPick(errClientLeft)
	switch d.state {
	case tcpReadingProxyHeader, tcpReadingSNI:
		d.openExchange("", os.ErrDeadlineExceeded)
	case tcpConnecting:
		d.linkFailed(flight.Failure{}, errClientLeft)
	case tcpTunneling:
		d.tunnel.abort()
		d.endTunnel()
	case tcpClosing:
		d.closeTunnel()
	}
}
