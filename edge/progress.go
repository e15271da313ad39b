package edge

// progressTimer checks a long request now and then. It belongs to the request and stays in the wheel from one
// request to the next: a short request costs one store.
type progressTimer struct {
	timer
	client *clientConn // whose request was checked last
	req    *request
}

// start starts it when the request has been sent.
func (o *progressTimer) start(f *clientConn) {
	o.client, o.req, o.owner = f, f.req, o
	f.worker.timers.set(&o.timer, f.worker.now.Add(progressFirst))
}

// onTimer implements the timer's owner.
func (o *progressTimer) onTimer() {
	f, t := o.client, o.req
	if f.req != t || f.state != stateForwarding && f.state != stateTunneling || !t.exchange.started || t.exchange.flight.Over() {
		return // the request has ended
	}
	t.exchange.reportProgress(f.worker.now, f.serverOwes())
	f.worker.timers.set(&o.timer, f.worker.now.Add(progressEvery))
}

// serverOwes reports whether the server owes a response on the current link. It does not while its client
// reads nothing or has not sent the whole request; if the server does not take what the client has sent, it
// does.
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

// startProgressTimer starts the progress timer of a tunnel.
func (d *tcpConn) startProgressTimer() {
	d.worker.timers.set(&d.progress, d.worker.now.Add(progressFirst))
}

// tcpProgressTimer is the owner of a tunnel's progress timer.
type tcpProgressTimer struct{ *tcpConn }

// onTimer implements the timer's owner.
func (o tcpProgressTimer) onTimer() {
	d := o.tcpConn
	if d.state != tcpTunneling {
		return
	}
	d.exchange.reportProgress(d.worker.now, d.serverOwes())
	d.worker.timers.set(&d.progress, d.worker.now.Add(progressEvery))
}

// serverOwes reports whether the server owes its first bytes to a client that has sent some. Later either may
// be silent, but the server must take what comes.
func (d *tcpConn) serverOwes() bool {
	j := &d.tunnel
	return j.isStuck(serverSide) || j.movedTo(clientSide) == 0 && !j.isStuck(clientSide) && j.movedTo(serverSide) > 0
}
