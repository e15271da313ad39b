package proxy

import (
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
)

// startTunnel joins client and server after a 101 or CONNECT response.
func (f *clientConn) startTunnel() {
	t, b, l := f.req, f.server, f.worker
	if !t.up.Empty(&b.Conn) {
		f.clientGone() // the server has switched before it has the whole request
		return
	}
	w := &t.ForwardState
	head := t.Resp.Append(l.headBuf, w.In[w.R:w.W], &t.Rewrite)
	t.Out = append(head, w.In[w.R+t.RespHead:w.W]...)
	w.R = w.W
	_, err := t.down.Write(&f.Conn, t.Out)
	l.putHeadBuf(w)
	if err != nil {
		f.clientGone()
		return
	}
	t.inputStart += t.Head + t.BodyInBuf + t.TrailerLen
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
		f.req.Exchange.ServerSent(f.worker.Now)
	}
	if over {
		f.endTunnel()
	}
}

// endTunnel ends a tunnel whose directions have both ended.
func (f *clientConn) endTunnel() {
	x := &f.req.Exchange
	x.Bytes = f.tunnel.MovedTo(eventloop.ClientSide)
	broke := f.tunnel.BrokeOff()
	x.TunnelEnded(broke == eventloop.ClientSide, broke == eventloop.ServerSide)
	f.state = stateTunnelClosing
	f.closeTunnel()
}

// closeTunnel closes both connections, now or when that loses nothing.
func (f *clientConn) closeTunnel() {
	t := f.req
	if !f.tunnel.CloseGracefully(!t.Cancel.ClientLeft()) {
		f.setTimeout(f.tunnel.Pause)
		return
	}
	t.Exchange.Finish()
	f.close()
}

// abortTunnel ends a tunnel in the middle of the data.
func (f *clientConn) abortTunnel() {
	f.req.Cancel.Cancel(exchange.ErrClientLeft)
	if f.state == stateTunneling {
		f.tunnel.Abort()
		f.endTunnel()
		return
	}
	f.closeTunnel()
}
