package edge

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// back is a connection to a server. One link at a time has it; in between it is kept
// and watched, so that one that its server has closed is never taken.
type back struct {
	end
	timer
	address    string
	list       *idleList // where it was kept last; nil: nowhere yet
	inbound    *inbound  // nil: nobody has it
	used       bool      // it has carried a response
	connecting bool
}

// idleBacks are the connections of a loop that nobody has.
type idleBacks struct {
	byAddress map[string]*idleList
}

// idleList is those to one address.
type idleList struct {
	backs   []*back // the one used last at the end
	dropped bool    // byAddress has it no more
}

// ready implements the end's owner.
func (b *back) ready() {
	switch {
	case b.inbound != nil:
		b.inbound.ready()
	case b.readable: // it has spoken unasked, or hung up
		b.loop.backs.remove(b)
		b.close()
	}
}

// expired implements the timer's owner: nobody has needed it for too long.
func (b *back) expired() {
	if b.inbound == nil && b.fd >= 0 {
		b.loop.backs.remove(b)
		b.close()
	}
}

func (b *back) close() {
	if b.fd >= 0 {
		b.loop.wheel.drop(&b.timer)
		b.end.close()
	}
}

// take returns the connection to an address that was used last, nil if none is kept.
func (p *idleBacks) take(address string) *back {
	list := p.byAddress[address]
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
		if b.list = p.byAddress[b.address]; b.list == nil {
			b.list = new(idleList)
			p.byAddress[b.address] = b.list
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
		delete(p.byAddress, b.address)
	}
}

// quiet tells whether nothing has come that its owner has not read, nor the end.
func (e *end) quiet() bool {
	if e.early != nil {
		return false
	}
	var one [1]byte
	_, _, err := unix.Recvfrom(e.fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}

// dial begins a connection; ready is called when it stands or has failed. nil and no
// error: the address is a name, which must be looked up first.
func (l *loop) dial(address string) (*back, error) {
	fd, err := connect(address)
	if err != nil || fd < 0 {
		return nil, err
	}
	return l.adopt(fd, address, true)
}

// connect begins a connection. Negative and no error: the address is a name.
func connect(address string) (fd int, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Addr().Zone() != "" {
		return -1, nil
	}
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if ip := at.Addr().Unmap(); ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // without, all is as right and only slower
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) // without, a dead peer is noticed later
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func (l *loop) adopt(fd int, address string, connecting bool) (*back, error) {
	b := &back{address: address, connecting: connecting}
	b.end.owner, b.timer.owner, b.server = b, b, true
	if err := l.watch(&b.end, fd, readiness); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return b, nil
}

// stands tells whether a connection that was begun stands; false and no error: not yet.
func (b *back) stands() (bool, error) {
	switch {
	case !b.connecting:
		return true, nil
	case b.shoot != nil:
		return b.shoot.rises()
	case !b.writable:
		return false, nil
	}
	if err := cameOut(b.fd); err != nil {
		return false, err
	}
	b.connecting = false
	return true, nil
}

// cameOut tells how a connection that was begun has come out.
func cameOut(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case code != 0:
		return os.NewSyscallError("connect", syscall.Errno(code))
	}
	return nil
}

// dialAside looks a name up and connects, on a goroutine of its own; the loop does then.
func (l *loop) dialAside(ctx context.Context, address string, then func(fd int, err error)) {
	e := l.engine
	e.aside.Go(func() {
		fd := -1
		conn, err := e.dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			fd, err = descriptor(conn)
			_ = conn.Close() // the descriptor is a copy
		}
		if !l.post(letter{do: func() { then(fd, err) }}) && fd >= 0 {
			_ = unix.Close(fd)
		}
	})
}

// descriptor returns a copy of a connection's, or a listener's.
func descriptor(conn any) (fd int, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return -1, net.UnknownNetworkError("without a descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	if bad := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); bad != nil {
		return -1, bad
	}
	return fd, err
}
