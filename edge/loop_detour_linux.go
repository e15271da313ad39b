package edge

import "golang.org/x/sys/unix"

// A stream whose request is for the goroutines cannot go over to them: its frames stand
// among those of others. They serve it at one end of a pair of sockets, as the HTTP/1.1
// that it is to the loop in any case, and the loop joins the other end with the stream.

// detour begins that. No exchange is open.
func (f *inbound) detour() {
	t, l, s := f.task, f.loop, f.service
	t.req.Reset()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.close() // it is lost, for want of a descriptor
		return
	}
	nc, err := connOf(pair[0])
	if err != nil {
		_ = unix.Close(pair[1])
		f.close()
		return
	}
	c := newConn(s.goroutines, nc, nil)
	c.peer, c.waiting, c.two = f.peer, forNothing, true
	c.in, c.r, c.w = t.got, t.gr, t.gw
	t.got, t.gr, t.gw = nil, 0, 0
	c.service.admit(c, func() {
		c.serveRequests()
		_ = c.Close() // all that was to be said has been
	})
	b, err := l.adopt(pair[1], "", false)
	if err != nil {
		f.close()
		return
	}
	f.back, b.inbound = b, f
	f.junction = new(junction)
	f.junction.join(&f.end, &b.end, t.down, t.up)
	t.down, t.up = outflow{}, outflow{}
	f.stage = detoured
	f.until(0)
	f.carryDetour()
}

// carryDetour moves what can be moved now. What the goroutines say ends with the
// response, or else it is broken.
func (f *inbound) carryDetour() {
	f.junction.carry()
	if down := &f.junction.arms[clientSide]; f.branch.told || f.branch.over || down.over && down.out.empty() {
		f.close()
	}
}
