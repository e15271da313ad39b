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

// duct is a tunnel in a loop: the connection of a TCP listener's client and, when it is
// linked, the server's. It is one flight, and its lease lasts as long.
type duct struct {
	end
	timer
	service  *loopService
	stage    ductStage
	told     preface.Proxy // whom the client's connection joins
	seated   bool          // listener.admit has taken it, by whom it joins
	opening  []byte        // what had to be read before a server could be chosen
	exchange exchange
	recall   recall
	question *question // that is on its way, while pending; nil: a goroutine asks
	back     *back     // of the link under way
	junction junction
	lookout  timer
	reason   string // why it was not linked; empty: it was
}

// ductStage is what a tunnel is about.
type ductStage uint8

const (
	introducing ductStage = iota // its client says whom it speaks for
	naming                       // its client says whom it wants
	pending                      // another goroutine asks the master, or looks a name up
	reaching                     // a server is being reached
	joined                       // bytes go both ways
	settling                     // they do no more, but what was sent is not broken off
	disconnected
)

// beginDuct makes a tunnel of an accepted descriptor.
func (l *loop) beginDuct(s *loopService, descriptor *fd.FD, peer netip.AddrPort) {
	d := &duct{service: s, told: preface.Proxy{Source: peer}, seated: !s.listener.introduces()}
	d.end.owner, d.timer.owner, d.lookout.owner = d, d, ductLookout{d}
	if err := l.watch(&d.end, descriptor, readiness); err != nil {
		s.left(l, d)
		return
	}
	s.members[l][d] = struct{}{}
	switch {
	case s.listener.introduces():
		d.until(s.listener.HeaderTimeout)
	case s.listener.named:
		d.stage = naming
		d.until(s.listener.HeaderTimeout)
	default:
		d.start("", nil)
	}
	if s.isCut.Load() {
		d.cutOff()
	}
}

// until sets the time by which something must have happened; zero: none.
func (d *duct) until(wait time.Duration) { d.loop.wheel.set(&d.timer, d.loop.due(wait)) }

// ready implements the owner of both ends: do what can be done now.
func (d *duct) ready() {
	switch d.stage {
	case introducing:
		d.introduce()
	case naming:
		d.readName()
	case pending:
		if d.reset {
			d.recallAsk(errLeft)
		}
	case reaching:
		d.reach()
	case joined:
		d.carry()
	}
}

// expired implements the timer's owner: something did not happen in time.
func (d *duct) expired() {
	switch d.stage {
	case introducing, naming:
		d.start("", os.ErrDeadlineExceeded)
	case pending:
		d.recallAsk(errSilent)
	case reaching:
		d.failed(flight.Failure{Unreachable: true}, os.ErrDeadlineExceeded)
	case joined:
		d.cutOff()
	case settling:
		d.settle()
	}
}

// introduce reads the PROXY header, and no byte more.
func (d *duct) introduce() {
	for l := d.service.listener; d.stage == introducing; {
		told, more, err := l.introduction(d.told.Source.Addr(), d.opening)
		switch {
		case err != nil:
			d.start("", err)
			return
		case more == 0:
			if told.Source.IsValid() {
				d.told = told
			}
			if why := l.admit(d.told.Source.Addr()); why != nil {
				d.start("", why)
				return
			}
			d.seated = true
			if d.opening = nil; !l.named {
				d.start("", nil)
				return
			}
			d.stage = naming
			d.readName()
			return
		}
		if !d.readOpening(make([]byte, more)) {
			return
		}
	}
}

// readName reads until the server's name is known.
func (d *duct) readName() {
	l := d.service.listener
	for {
		room := d.loop.shared
		if !d.readOpening(room[:min(len(room), l.HeaderLimit-len(d.opening))]) {
			return
		}
		if name, known, err := l.nameIn(d.opening); known || err != nil {
			d.start(name, err)
			return
		}
	}
}

// readOpening reads more of what comes first, by way of room; false: there is none yet, or
// there will be none.
func (d *duct) readOpening(room []byte) bool {
	if !d.readable {
		return false
	}
	n, err := d.read(room)
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		d.start("", os.NewSyscallError("read", err))
		return false
	case n == 0:
		d.start("", io.EOF)
		return false
	}
	d.opening = append(d.opening, room[:n]...)
	return true
}

// start asks for a server, by the name that the client has asked for, unless what it
// said of itself made no sense.
func (d *duct) start(name string, err error) {
	x, s := &d.exchange, d.service
	d.until(0)
	x.openTunnel(s.engine.edge, s.listener, d.told.Source.Addr(), name, &d.recall)
	x.asker = d
	switch {
	case err != nil:
		s.listener.tellRefused(s.engine.edge.cfg.Log, x.client, err)
		d.refuse(refusal(err))
	case x.route == nil:
		d.refuse(reasonNoRoute)
	default:
		d.follow(x.start())
	}
}

// ask implements asker.
func (d *duct) ask(x *exchange) (answered bool, err error) {
	if answered, err = d.loop.ask(d, x); !answered {
		d.stage = pending
		d.loop.wheel.set(&d.timer, x.request.Deadline.Add(askGrace))
	}
	return answered, err
}

// recallAsk ends an ask, or a look-up.
func (d *duct) recallAsk(cause error) { d.loop.recallAsk(&d.recall, d.question, cause) }

// questions implements waiter.
func (d *duct) questions(q *question) { d.question = q }

// answered implements waiter.
func (d *duct) answered(grant balance.Grant, err error) {
	d.until(0)
	d.follow(d.exchange.resume(grant, err))
}

// follow takes the exchange's next step.
func (d *duct) follow(step flight.Step) {
	switch step.Do {
	case flight.Wait: // the answer comes by letter
	case flight.Link:
		d.link()
	case flight.Respond:
		d.refuse(step.Answer.Reason)
	default:
		d.refuse(reasonLeft)
	}
}

// refuse ends a tunnel that was not linked. A reset is the only way to say so.
func (d *duct) refuse(why string) {
	d.reason = why
	d.end.breakOff()
	d.over()
}

// link makes the connection to the server that was granted.
func (d *duct) link() {
	if d.reset || d.recall.left() {
		d.recall.end(errLeft)
		d.failed(flight.Failure{}, errLeft)
		return
	}
	_, address := d.exchange.where() // whether TLS is spoken is the client's affair
	to := target{address: address}
	switch b, err := d.loop.dial(to); {
	case err != nil:
		d.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
	case b == nil:
		d.stage = pending
		d.until(0)
		d.loop.dialAside(d.recall.context(), to, func(descriptor *fd.FD, _ *sealed, err error) { d.dialled(descriptor, to, err) })
	default:
		d.attach(b)
	}
}

// dialled goes on with a connection that was made elsewhere.
func (d *duct) dialled(descriptor *fd.FD, to target, err error) {
	var b *back
	if err == nil {
		b, err = d.loop.adopt(descriptor, nil, to)
	}
	if err != nil {
		d.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
	d.attach(b)
}

func (d *duct) attach(b *back) {
	d.back, b.end.owner = b, d
	d.stage = reaching
	d.until(d.service.engine.edge.cfg.ConnectTimeout)
	d.reach()
}

// reach joins the two once the connection to the server stands, and the server has been
// told what it is to know first.
func (d *duct) reach() {
	b := d.back
	stands, err := b.stands()
	switch {
	case d.reset || d.recall.left():
		d.recall.end(errLeft)
		d.failed(flight.Failure{}, errLeft)
	case err != nil:
		d.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
	case stands:
		var up outflow
		if n, err := up.write(&b.end, d.exchange.proxyHeader(d.whom())); err != nil {
			d.failed(flight.Failure{Sent: n > 0}, os.NewSyscallError("write", err))
			return
		}
		d.stage = joined
		d.junction.join(&d.end, &b.end, outflow{}, up)
		d.junction.say(serverSide, d.opening)
		d.opening = nil
		d.until(d.service.listener.IdleTimeout)
		d.lookAfter()
		d.carry()
	}
}

// whom tells whom the client's connection joins.
func (d *duct) whom() preface.Proxy {
	if !d.told.Destination.IsValid() && d.exchange.route.SendProxy != 0 {
		d.told.Destination = d.fd.LocalAddress()
	}
	return d.told
}

// failed says that the link came to nothing, and tries what follows from that.
func (d *duct) failed(why flight.Failure, err error) {
	if b := d.back; b != nil {
		d.back = nil
		b.breakOff() // it may have been taken already, by a server that must not think it has served
	}
	d.until(0)
	d.follow(d.exchange.failed(why, err))
}

// carry moves what can be moved now.
func (d *duct) carry() {
	before, down := d.junction.progress(), d.junction.moved(clientSide)
	over := d.junction.carry()
	if d.junction.moved(clientSide) != down {
		d.exchange.heard(d.loop.now)
	}
	switch {
	case over:
		d.part()
	case d.junction.progress() != before:
		d.until(d.service.listener.IdleTimeout)
	}
}

// part ends the link, of which nothing is left to be carried.
func (d *duct) part() {
	d.exchange.parted(d.junction.broke())
	d.stage = settling
	d.settle()
}

// settle closes both connections, now or when that loses nothing.
func (d *duct) settle() {
	if !d.junction.settle(!d.recall.left()) {
		d.until(d.junction.pause)
		return
	}
	d.over()
}

// over ends a tunnel both of whose ends are closed.
func (d *duct) over() {
	l, j := d.loop, &d.junction
	d.stage = disconnected
	l.wheel.drop(&d.timer)
	l.wheel.drop(&d.lookout)
	d.exchange.closeTunnel(d.reason, j.moved(serverSide), j.moved(clientSide))
	d.service.left(l, d)
}

// seat implements member.
func (d *duct) seat() netip.Addr {
	if !d.seated {
		return netip.Addr{}
	}
	return d.told.Source.Addr()
}

// hurry implements member: a tunnel may take its time.
func (d *duct) hurry() {}

// cutOff ends the tunnel wherever it is.
func (d *duct) cutOff() {
	d.recallAsk(errLeft)
	switch d.stage {
	case introducing, naming:
		d.start("", os.ErrDeadlineExceeded)
	case reaching:
		d.failed(flight.Failure{}, errLeft)
	case joined:
		d.junction.cut()
		d.part()
	case settling:
		d.settle()
	}
}
