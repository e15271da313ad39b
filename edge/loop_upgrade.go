package edge

// openTunnel joins the client with the server, whose answer says that what follows is
// theirs.
func (f *inbound) openTunnel() {
	t, b, l := f.task, f.back, f.loop
	if !t.up.empty() {
		f.gone() // a server that switches before it has the request is no partner for it
		return
	}
	w := &t.work
	head := t.resp.Append(l.out, w.in[w.r:w.w], &t.rewrite)
	t.out = append(head, w.in[w.r+t.respHead:w.w]...)
	w.r = w.w
	_, err := t.down.write(&f.end, t.out)
	l.lay(w)
	if err != nil {
		f.gone()
		return
	}
	t.gr += t.head + t.passed + t.tail
	early := t.got[t.gr:t.gw]
	t.gr = t.gw
	f.junction = new(junction)
	f.junction.join(&f.end, &b.end, t.down, t.up)
	t.down, t.up = outflow{}, outflow{}
	f.junction.say(serverSide, early)
	f.stage = upgraded
	f.until(0)
	l.wheel.drop(&b.timer)
	f.carryTunnel()
}

// carryTunnel moves what can be moved now.
func (f *inbound) carryTunnel() {
	before := f.junction.moved(clientSide)
	over := f.junction.carry()
	if f.junction.moved(clientSide) != before {
		f.task.exchange.heard(f.loop.now)
	}
	if over {
		f.endTunnel()
	}
}

// endTunnel ends a link of which nothing is left to be carried.
func (f *inbound) endTunnel() {
	x := &f.task.exchange
	x.bytes = f.junction.moved(clientSide)
	x.parted(f.junction.broke())
	f.stage = severed
	f.settleTunnel()
}

// settleTunnel closes both connections, now or when that loses nothing.
func (f *inbound) settleTunnel() {
	t := f.task
	if !f.junction.settle(!t.recall.left()) {
		f.until(f.junction.pause)
		return
	}
	t.exchange.close()
	f.close()
}

// cutTunnel ends a tunnel amid whatever is being said.
func (f *inbound) cutTunnel() {
	f.task.recall.end(errLeft)
	if f.stage == upgraded {
		f.junction.cut()
		f.endTunnel()
		return
	}
	f.settleTunnel()
}
