package edge

import "github.com/evenkeel-lb/evenkeel/edge/eventloop"

// startTunnel joins client and server after a 101 or CONNECT response.
func (f *clientConn) startTunnel() {
	t, b, l := f.req, f.server, f.worker
	if !t.up.Empty(&b.Conn) {
		f.clientGone() // the server has switched before it has the whole request
		return
	}
	w := &t.forwardState
	head := t.resp.Append(l.headBuf, w.in[w.r:w.w], &t.rewrite)
	t.out = append(head, w.in[w.r+t.respHead:w.w]...)
	w.r = w.w
	_, err := t.down.Write(&f.Conn, t.out)
	l.putHeadBuf(w)
	if err != nil {
		f.clientGone()
		return
	}
	t.inputStart += t.head + t.bodyInBuf + t.trailerLen
	early := t.input[t.inputStart:t.inputEnd]
	t.inputStart = t.inputEnd
	f.tunnel = new(eventloop.Tunnel)
	f.tunnel.Start(&f.Conn, &b.Conn, t.down, t.up)
	t.down, t.up = eventloop.SendBuffer{}, eventloop.SendBuffer{}
	f.tunnel.SendEarly(eventloop.ServerSide, early)
	f.state = stateTunneling
	f.setTimeout(0)
	l.Timers.Stop(&b.Timer)
	f.pumpTunnel()
}

// pumpTunnel moves what can be moved now.
func (f *clientConn) pumpTunnel() {
	before := f.tunnel.MovedTo(eventloop.ClientSide)
	over := f.tunnel.Pump()
	if f.tunnel.MovedTo(eventloop.ClientSide) != before {
		f.req.exchange.serverSent(f.worker.Now)
	}
	if over {
		f.endTunnel()
	}
}

// endTunnel ends a tunnel whose directions have both ended.
func (f *clientConn) endTunnel() {
	x := &f.req.exchange
	x.bytes = f.tunnel.MovedTo(eventloop.ClientSide)
	broke := f.tunnel.BrokeOff()
	x.tunnelEnded(broke == eventloop.ClientSide, broke == eventloop.ServerSide)
	f.state = stateTunnelClosing
	f.closeTunnel()
}

// closeTunnel closes both connections, now or when that loses nothing.
func (f *clientConn) closeTunnel() {
	t := f.req
	if !f.tunnel.CloseGracefully(!t.cancel.clientLeft()) {
		f.setTimeout(f.tunnel.Pause)
		return
	}
	t.exchange.finish()
	f.close()
}

// abortTunnel ends a tunnel in the middle of the data.
func (f *clientConn) abortTunnel() {
	f.req.cancel.cancel(errClientLeft)
	if f.state == stateTunneling {
		f.tunnel.Abort()
		f.endTunnel()
		return
	}
	f.closeTunnel()
}
