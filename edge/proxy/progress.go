package proxy

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
)

const (
	progressFirst = 2 * time.Second // from sending a request until its first check; few last that long
	progressEvery = time.Second     // between checks
)

// progressTimer checks a long request now and then. It belongs to the request and stays in the wheel from one
// request to the next: a short request costs one store.
type progressTimer struct {
	eventloop.Timer
	client *clientConn // whose request was checked last
	req    *request
}

// start starts it when the request has been sent.
func (o *progressTimer) start(f *clientConn) {
	o.client, o.req, o.Owner = f, f.req, o
	f.worker.Timers.Set(&o.Timer, f.worker.Now.Add(progressFirst))
}

// OnTimer implements the timer's owner.
func (o *progressTimer) OnTimer() {
	f, t := o.client, o.req
	if f.req != t || f.state != stateForwarding && f.state != stateTunneling || !t.Exchange.Started || t.Exchange.Flight.Over() {
		return // the request has ended
	}
	t.Exchange.ReportProgress(f.worker.Now, f.serverOwes())
	f.worker.Timers.Set(&o.Timer, f.worker.Now.Add(progressEvery))
}

// serverOwes reports whether the server owes a response on the current link. It does not while its client
// reads nothing or has not sent the whole request; if the server does not take what the client has sent, it
// does.
func (f *clientConn) serverOwes() bool {
	t := f.req
	switch {
	case f.state == stateTunneling:
		return f.tunnel.IsStuck(eventloop.ServerSide)
	case f.server == nil || !t.sent || !t.up.Empty(&f.server.Conn): // without a server the request is on its way to one
		return true
	}
	return t.down.Empty(&f.Conn) && (!t.uploading || t.bodyStore.Unsent())
}

// startProgressTimer starts the progress timer of a tunnel.
func (d *tcpConn) startProgressTimer() {
	d.worker.Timers.Set(&d.progress, d.worker.Now.Add(progressFirst))
}

// tcpProgressTimer is the owner of a tunnel's progress timer.
type tcpProgressTimer struct{ *tcpConn }

// OnTimer implements the timer's owner.
func (o tcpProgressTimer) OnTimer() {
	d := o.tcpConn
	if d.state != tcpTunneling {
		return
	}
	d.exchange.ReportProgress(d.worker.Now, d.serverOwes())
	d.worker.Timers.Set(&d.progress, d.worker.Now.Add(progressEvery))
}

// serverOwes reports whether the server owes its first bytes to a client that has sent some. Later either may
// be silent, but the server must take what comes.
func (d *tcpConn) serverOwes() bool {
	j := &d.tunnel
	return j.IsStuck(eventloop.ServerSide) || j.MovedTo(eventloop.ClientSide) == 0 && !j.IsStuck(eventloop.ClientSide) && j.MovedTo(eventloop.ServerSide) > 0
}
