package edge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// back is a connection to a server. One link at a time has it; in between it is kept
// and watched, so that one that its server has closed is never taken.
type back struct {
	end
	timer
	to         target
	list       *idleList // where it was kept last; nil: nowhere yet
	inbound    *inbound  // nil: nobody has it
	used       bool      // it has carried a response
	before     int64     // end.accepted when the request that has it began
	connecting bool
}

// idleBacks are the connections of a loop that no request uses. Plain ones are apart, since a map by whole targets costs each
// request more.
type idleBacks struct {
	plain map[string]*idleList // by address
	byTLS map[target]*idleList
}

func newIdleBacks() idleBacks {
	return idleBacks{make(map[string]*idleList), make(map[target]*idleList)}
}

// list returns the connections to a target; nil: there are none.
func (p *idleBacks) list(to *target) *idleList {
	if to.tls == nil {
		return p.plain[to.address]
	}
	return p.byTLS[*to]
}

// put makes list the connections to a target.
func (p *idleBacks) put(to *target, list *idleList) {
	if to.tls == nil {
		p.plain[to.address] = list
	} else {
		p.byTLS[*to] = list
	}
}

// drop forgets the list of a target.
func (p *idleBacks) drop(to *target) {
	if to.tls == nil {
		delete(p.plain, to.address)
	} else {
		delete(p.byTLS, *to)
	}
}

// close closes all of them.
func (p *idleBacks) close() {
	for _, list := range p.plain {
		list.close()
	}
	for _, list := range p.byTLS {
		list.close()
	}
}

func (list *idleList) close() {
	for _, b := range list.backs {
		b.closeNotify()
		b.close()
	}
}

// idleList is those to one target.
type idleList struct {
	backs   []*back // the one used last at the end
	dropped bool    // the loop has it no more
}

// ready implements the end's owner.
func (b *back) ready() {
	switch {
	case b.inbound != nil:
		b.inbound.ready()
	case b.readable && b.sealed != nil && !b.hup && b.sealed.nothingToRead(): // a session ticket, or a part of something
	case b.readable: // it has spoken unasked, or hung up
		b.loop.backs.remove(b)
		b.close()
	}
}

// expired implements the timer's owner: nobody has needed it for too long.
func (b *back) expired() {
	if b.inbound == nil && b.isOpen() {
		b.loop.backs.remove(b)
		b.closeNotify()
		b.close()
	}
}

func (b *back) close() {
	if b.isOpen() {
		b.loop.wheel.drop(&b.timer)
		b.end.close()
	}
}

// take returns the connection to a target that was used last, nil if none is kept.
func (p *idleBacks) take(to target) *back {
	list := p.list(&to)
	if list == nil || len(list.backs) == 0 {
		return nil
	}
	n := len(list.backs) - 1
	b := list.backs[n]
	list.backs[n] = nil
	list.backs = list.backs[:n]
	b.due = 0
	return b
}

// keep keeps a connection whose last response was read to its end, and nothing beyond.
func (l *loop) keep(b *back) {
	if b.shoot != nil {
		b.shoot.done()
		return
	}
	if b.readable { // perhaps there is more: the read that got all there should be was full
		var one [1]byte
		if _, err := b.read(one[:]); err != syscall.EAGAIN {
			b.close()
			return
		}
	}
	list := l.backs.of(b)
	if b.hup || b.saying != 0 || b.remains != nil || len(list.backs) >= idleMost {
		b.closeNotify()
		b.close()
		return
	}
	b.inbound, b.used = nil, true
	list.backs = append(list.backs, b)
	l.wheel.set(&b.timer, l.now.Add(upstreamIdle))
}

// of returns the list where a connection is kept.
func (p *idleBacks) of(b *back) *idleList {
	if b.list == nil || b.list.dropped {
		if b.list = p.list(&b.to); b.list == nil {
			b.list = new(idleList)
			p.put(&b.to, b.list)
		}
	}
	return b.list
}

func (p *idleBacks) remove(b *back) {
	list := p.of(b)
	if i := slices.Index(list.backs, b); i >= 0 {
		list.backs = slices.Delete(list.backs, i, i+1)
	}
	if len(list.backs) == 0 {
		list.dropped = true
		p.drop(&b.to)
	}
}

// spokeUnasked reports whether a part of something has come from a server that was not asked.
func (b *back) spokeUnasked() bool { return b.early != nil || b.sealed != nil && b.sealed.inRecord() }

// fit reports whether a kept connection can be used for a request that can be repeated, or for any.
func (b *back) fit(repeatable bool) bool {
	if fd.ReadsAhead && b.sealed != nil && !b.sealed.nothingToRead() { // a session ticket is nothing
		return false
	}
	return !b.spokeUnasked() && (repeatable && !fd.ReadsAhead || b.quiet())
}

// quiet reports whether nothing has come that its owner has not read, nor the end.
func (e *end) quiet() bool {
	if e.early != nil {
		return false
	}
	return e.fd.NothingToRead()
}

// dial begins a connection; ready is called when it stands or has failed. nil and no
// error: it takes a goroutine, as for a name or TLS.
func (l *loop) dial(to target) (*back, error) {
	if to.tls != nil {
		return nil, nil
	}
	descriptor, err := l.engine.connect(to.address)
	if err != nil || !descriptor.IsOpen() {
		return nil, err
	}
	b, err := l.adopt(&descriptor, nil, to)
	if b != nil {
		b.connecting = true
	}
	return b, err
}

// connect begins a connection. A closed descriptor and no error: it takes a goroutine, as a name does.
func (e *loops) connect(address string) (fd.FD, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Addr().Zone() != "" {
		return e.connectElsewhere(address)
	}
	if err := e.edge.cfg.Inside.Refuse(at); err != nil {
		return fd.FD{}, err
	}
	return fd.Connect(at, &e.edge.cfg.TCP)
}

// adopt makes a connection to a server of a descriptor, which it moves, and of the TLS that was begun on it, if any.
func (l *loop) adopt(descriptor *fd.FD, secure *sealed, to target) (*back, error) {
	b := &back{to: to}
	b.end.owner, b.timer.owner, b.server = b, b, true
	if err := l.watch(&b.end, descriptor, readiness); err != nil {
		return nil, err
	}
	b.useTLS(secure)
	return b, nil
}

// stands reports whether a connection that was begun stands; false and no error: not yet.
func (b *back) stands() (bool, error) {
	switch {
	case !b.connecting:
		return true, nil
	case b.shoot != nil:
		return b.shoot.rises()
	case !b.writable:
		return false, nil
	}
	if err := b.fd.Connected(); err != nil {
		return false, err
	}
	b.connecting = false
	return true, nil
}

// dialAside makes a connection on a goroutine of its own, since a name must be looked up, or TLS begun. The loop does
// then, which moves the descriptor or has it closed.
func (l *loop) dialAside(ctx context.Context, to target, then func(descriptor *fd.FD, secure *sealed, err error)) {
	e := l.engine
	e.aside.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, e.edge.cfg.ConnectTimeout)
		defer cancel()
		descriptor, secure, err := e.reach(ctx, &to)
		if !l.post(letter{do: func() { then(&descriptor, secure, err); descriptor.Close() }}) {
			descriptor.Close()
		}
	})
}

const (
	// upstreamIdle is how long a connection to a server is kept without a request.
	// Many servers close theirs after 5 s; a request that meets the close on its way
	// is lost unless it can be sent again, so we close first.
	upstreamIdle = 4 * time.Second
	// idleMost is how many such connections a loop keeps to one address.
	idleMost = 256
)

// exhausted reports whether the edge's own machine has run out of something. That says
// nothing about the server, and another one would not help.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
