package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/uring"
)

const loopsHere = true

// loops is the engine with one loop for each core. A connection stays with the loop that
// it was given to, and so do the connections to servers that this one has made.
type loops struct {
	edge   *Edge
	dialer net.Dialer
	secure map[*tls.Config]*tls.Config // for servers that speak HTTP/2 by TLS, by what their route says
	aside  sync.WaitGroup              // goroutines that wait for the master, or for a name
	lacks  sync.Once                   // says that io_uring is not to be had

	mu      sync.Mutex
	serving int // listeners
	all     []*loop
	running sync.WaitGroup
}

func newLoops(e *Edge) engine {
	return &loops{edge: e, dialer: net.Dialer{Timeout: e.cfg.ConnectTimeout}, secure: secureStems(e)}
}

// secureStems completes what routes say of TLS to servers that speak HTTP/2.
func secureStems(e *Edge) map[*tls.Config]*tls.Config {
	all := make(map[*tls.Config]*tls.Config)
	for _, l := range e.listeners {
		for _, r := range l.routes {
			if r.ServerProtocol == HTTP2 && all[r.ServerTLS] == nil {
				all[r.ServerTLS] = toServers(r.ServerTLS)
				all[r.ServerTLS].NextProtos = []string{protoHTTP2}
			}
		}
	}
	return all
}

// batch returns what makes a loop's calls, on the loop's thread.
func (e *loops) batch() *uring.Batch {
	if e.edge.cfg.SingleCalls {
		return new(uring.Batch)
	}
	b, err := uring.New()
	if err != nil {
		e.lacks.Do(func() {
			e.edge.cfg.Log.Info("io_uring is not to be had, so carrying costs more processor time: allow it in this container or system, or set single_calls for not being told", "err", err)
		})
	}
	return b
}

// loopService is one listener being served by all loops.
type loopService struct {
	engine     *loops
	listener   *listener
	goroutines *service // of the same listener, for what loops cannot do
	draining   atomic.Bool
	isCut      atomic.Bool
	open       sync.WaitGroup // connections
	failed     chan error
	doors      map[*loop]*door
	members    map[*loop]map[member]struct{} // each loop's own
}

// member is a client's connection of a listener.
type member interface {
	// hurry gives one that does nothing a moment to begin.
	hurry()
	// cutOff ends it wherever it is.
	cutOff()
}

// serve implements engine.
func (e *loops) serve(ctx context.Context, listener *listener, l net.Listener) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	s := &loopService{engine: e, listener: listener, failed: make(chan error, 1), doors: make(map[*loop]*door), members: make(map[*loop]map[member]struct{})}
	for _, loop := range e.all {
		s.members[loop] = make(map[member]struct{})
	}
	for _, r := range listener.routes {
		if r.ServerTLS != nil && r.ServerProtocol == HTTP1 {
			listener.expectSecure(r)
		}
	}
	s.goroutines = e.edge.engine.(*carrier).attend(listener)
	err := s.openDoors(l)
	if p, ok := l.(parkable); ok {
		p.OnPark(s.closeDoors)
	}
	if err == nil {
		select {
		case err = <-s.failed:
		case <-ctx.Done():
			s.draining.Store(true) // before anybody can see that nobody listens
			time.Sleep(acceptGrace)
		}
	}
	s.draining.Store(true)
	s.goroutines.draining.Store(true)
	s.closeDoors()
	_ = l.Close() // it has taken what it could
	s.drain()
	return err
}

// parkable is a listener that somebody may ask to take no more connections, though it
// is not closed: OnPark says how that is done.
type parkable interface{ OnPark(stop func()) }

// enter starts the loops for the first listener.
func (e *loops) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving++; e.serving > 1 {
		return nil
	}
	e.all = nil
	for range e.edge.cfg.Loops {
		l, err := newLoop(e)
		if err != nil {
			e.serving--
			e.stop()
			return err
		}
		l.tallies = make([]tally, len(e.edge.pools))
		e.all = append(e.all, l)
		e.running.Go(l.run)
	}
	if e.edge.driven != nil {
		e.edge.driven.Drive(e.all[0])
	}
	// A loop keeps its processor while it works; the rest of the program needs one too.
	if want := len(e.all) + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return nil
}

// leave stops them after the last.
func (e *loops) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving--; e.serving == 0 {
		e.stop()
	}
}

func (e *loops) stop() {
	if e.edge.driven != nil && len(e.all) > 0 {
		e.edge.driven.Undrive(e.all[0])
	}
	for _, l := range e.all {
		l.post(letter{do: func() { l.stopped = true }})
	}
	e.running.Wait()
	if e.edge.driven != nil {
		e.edge.driven.Flush(clock.Now(), false) // what the last turns gave back
	}
	e.aside.Wait()
	for _, l := range e.all {
		e.edge.inherit(&l.books)
	}
	e.all = nil
}

// audit implements bookkeeper.
func (e *loops) audit(do func(*books)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.all { // none ends as long as mu is held
		read := make(chan struct{})
		l.post(letter{do: func() { do(&l.books); close(read) }})
		<-read
	}
}

// each has every loop do something, and returns when they have.
func (s *loopService) each(do func(*loop)) {
	var done sync.WaitGroup
	for _, l := range s.engine.all {
		done.Add(1)
		if !l.post(letter{do: func() { defer done.Done(); do(l) }}) {
			done.Done()
		}
	}
	done.Wait()
}

// drain lets what has begun finish for the drain time, and cuts the rest.
func (s *loopService) drain() {
	s.draining.Store(true)
	s.goroutines.open.Add(1) // until nothing more can be handed over
	var handed sync.WaitGroup
	handed.Go(s.goroutines.end)
	s.each(func(l *loop) {
		for m := range s.members[l] {
			m.hurry()
		}
	})
	stop := s.engine.edge.afterGrace(func() {
		s.isCut.Store(true)
		s.each(func(l *loop) {
			for m := range s.members[l] {
				m.cutOff()
			}
		})
		s.goroutines.each((*conn).cutOff)
	})
	s.open.Wait()
	stop()
	s.goroutines.open.Done()
	handed.Wait()
}

// door is where a loop takes a listener's connections. All doors of a listener share
// the kernel's queue, so that none is lost with a loop or an edge that stops.
type door struct {
	end
	timer
	service *loopService
}

func (s *loopService) openDoors(l net.Listener) error {
	fds := make(map[*loop]int)
	for _, loop := range s.engine.all {
		fd, err := descriptor(l)
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			return err
		}
		fds[loop] = fd
		d := &door{service: s}
		d.end.owner, d.timer.owner, d.fd = d, d, -1
		s.doors[loop] = d
		// What is accepted inherits these; without, all is as right and only slower.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	s.each(func(l *loop) { s.doors[l].open(l, fds[l]) })
	return nil
}

func (d *door) open(l *loop, fd int) {
	if err := l.watch(&d.end, fd, unix.EPOLLIN|unix.EPOLLET|unix.EPOLLEXCLUSIVE); err != nil {
		_ = unix.Close(fd)
		d.service.fail(err)
		return
	}
	d.readable = true // before it was watched, connections may have come
	d.ready()
}

// closeDoors takes what the kernel has made and then no more.
func (s *loopService) closeDoors() {
	s.each(func(l *loop) {
		if d := s.doors[l]; d != nil && d.fd >= 0 {
			d.shut()
		}
	})
}

// shut ends the watch before it takes what is left: whoever comes later wakes another
// door to the same queue, were it one of another edge.
func (d *door) shut() {
	d.loop.wheel.drop(&d.timer)
	fd := d.end.leaveLoop()
	d.fd, d.readable = fd, true
	d.ready()
	d.fd = -1
	_ = unix.Close(fd) // a copy
}

func (s *loopService) fail(err error) {
	select {
	case s.failed <- err:
	default: // one failure ends them all
	}
}

// ready implements the end's owner: it takes all there are.
func (d *door) ready() {
	for d.readable && d.fd >= 0 {
		fd, from, err := unix.Accept4(d.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			d.admit(fd, addressOf(from))
		case err == unix.EAGAIN:
			d.readable = false
		case err == unix.EINTR, isTemporary(err) && !exhausted(err): // a client that left before it was taken
		case exhausted(err):
			d.service.engine.edge.cfg.Log.Warn("cannot take connections just now", "listen", d.service.listener.Listen, "err", err)
			d.loop.wheel.set(&d.timer, d.loop.now.Add(acceptPause))
			return
		default:
			d.readable = false
			d.service.fail(err)
		}
	}
}

// acceptPause is how long no connections are taken when there is no room for any.
const acceptPause = 50 * time.Millisecond

// expired implements the timer's owner.
func (d *door) expired() {
	d.readable = true
	d.ready()
}

// admit gives a connection to the loop that has fewest, unless there is something to be
// done first.
func (d *door) admit(fd int, peer netip.AddrPort) {
	s := d.service
	s.open.Add(1)
	if s.listener.Mode == ModeHTTP && s.listener.greets() {
		s.greet(fd)
		return
	}
	to := s.engine.least(d.loop)
	to.connects.Add(1)
	if to == d.loop {
		to.take(s, fd, peer)
		return
	}
	to.post(letter{do: func() { to.take(s, fd, peer) }})
}

// least is the loop that has fewest connections; of those that have as few, this one.
func (e *loops) least(this *loop) *loop {
	for _, l := range e.all {
		if l.connects.Load() < this.connects.Load() {
			this = l
		}
	}
	return this
}

// take makes a member of an accepted descriptor.
func (l *loop) take(s *loopService, fd int, peer netip.AddrPort) {
	if s.listener.Mode == ModeTCP {
		l.beginDuct(s, fd, peer)
	} else {
		l.begin(s, fd, peer.Addr(), nil, nil)
	}
}

// left says that a member of a loop is gone.
func (s *loopService) left(l *loop, m member) {
	delete(s.members[l], m)
	l.connects.Add(-1)
	s.open.Done()
}

func addressOf(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.ZoneId != 0 && ip.Is6() {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				ip = ip.WithZone(i.Name)
			}
		}
		return netip.AddrPortFrom(ip, uint16(a.Port))
	}
	return netip.AddrPort{}
}
