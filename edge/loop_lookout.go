package edge

// lookout looks now and then after a request that lasts. Its timer belongs to the task, and stays where it
// is in the wheel from one request to the next: for one that is soon over it is a number written.
type lookout struct {
	timer
	of *inbound // whose request was looked after last
	at *task
}

// begin says that the request has been sent.
func (o *lookout) begin(f *inbound) {
	o.of, o.at, o.owner = f, f.task, o
	f.loop.wheel.set(&o.timer, f.loop.now.Add(lookFirst))
}

// expired implements the timer's owner.
func (o *lookout) expired() {
	f, t := o.of, o.at
	if f.task != t || f.stage != linking && f.stage != upgraded || !t.exchange.started || t.exchange.flight.Over() {
		return // it is over
	}
	t.exchange.look(f.loop.now, f.owed())
	f.loop.wheel.set(&o.timer, f.loop.now.Add(lookEvery))
}

// owed reports whether the server owes anything on the link under way. It does not while its client
// takes nothing, or has not sent all; if it does not take what the client has sent, it does.
func (f *inbound) owed() bool {
	t := f.task
	switch {
	case f.stage == upgraded:
		return f.junction.stuck(serverSide)
	case !t.sent || !t.up.empty():
		return true
	}
	return t.down.empty() && (!t.uploading || t.store.unsent())
}

// lookAfter has the tunnel looked after once it has lasted.
func (d *duct) lookAfter() { d.loop.wheel.set(&d.lookout, d.loop.now.Add(lookFirst)) }

// ductLookout is the timer by which a tunnel is looked after.
type ductLookout struct{ *duct }

// expired implements the timer's owner.
func (o ductLookout) expired() {
	d := o.duct
	if d.stage != joined {
		return
	}
	d.exchange.look(d.loop.now, d.owed())
	d.loop.wheel.set(&d.lookout, d.loop.now.Add(lookEvery))
}

// owed reports whether the server owes anything: the first answer to a client that has said something. From
// then on either may be silent, but the server must take what comes.
func (d *duct) owed() bool {
	j := &d.junction
	return j.stuck(serverSide) || j.moved(clientSide) == 0 && !j.stuck(clientSide) && j.moved(serverSide) > 0
}
