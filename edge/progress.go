package edge

// progressTimer looks now and then after a request that lasts. Its timer belongs to the task, and stays where it
// is in the wheel from one request to the next: for one that is soon over it is a number written.
type progressTimer struct {
	timer
	client *clientConn // whose request was looked after last
	req    *request
}

// start says that the request has been sent.
func (o *progressTimer) start(f *clientConn) {
	o.client, o.req, o.owner = f, f.req, o
	f.loop.timers.set(&o.timer, f.loop.now.Add(progressFirst))
}

// onTimer implements the timer's owner.
func (o *progressTimer) onTimer() {
	f, t := o.client, o.req
	if f.req != t || f.state != stateForwarding && f.state != stateTunneling || !t.exchange.started || t.exchange.flight.Over() {
		return // it is over
	}
	t.exchange.reportProgress(f.loop.now, f.serverOwes())
	f.loop.timers.set(&o.timer, f.loop.now.Add(progressEvery))
}

// serverOwes reports whether the server owes anything on the link under way. It does not while its client
// takes nothing, or has not sent all; if it does not take what the client has sent, it does.
func (f *clientConn) serverOwes() bool {
	t := f.req
	switch {
	case f.state == stateTunneling:
		return f.tunnel.isStuck(serverSide)
	case !t.sent || !t.up.empty():
		return true
	}
	return t.down.empty() && (!t.uploading || t.bodyStore.unsent())
}

// startProgressTimer has the tunnel looked after once it has lasted.
func (d *tcpConn) startProgressTimer() { d.loop.timers.set(&d.progress, d.loop.now.Add(progressFirst)) }

// tcpProgressTimer is the timer by which a tunnel is looked after.
type tcpProgressTimer struct{ *tcpConn }

// onTimer implements the timer's owner.
func (o tcpProgressTimer) onTimer() {
	d := o.tcpConn
	if d.state != tcpTunneling {
		return
	}
	d.exchange.reportProgress(d.loop.now, d.serverOwes())
	d.loop.timers.set(&d.progress, d.loop.now.Add(progressEvery))
}

// serverOwes reports whether the server owes anything: the first answer to a client that has said something. From
// then on either may be silent, but the server must take what comes.
func (d *tcpConn) serverOwes() bool {
	j := &d.tunnel
	return j.isStuck(serverSide) || j.movedTo(clientSide) == 0 && !j.isStuck(clientSide) && j.movedTo(serverSide) > 0
}
