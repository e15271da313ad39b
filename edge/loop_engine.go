package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loopEngine is what carries bytes between clients and servers: one loop for each core. A connection stays with the loop that
// it was given to, and so do the connections to servers that this one has made.
type loopEngine struct {
	edge        *Edge
	background  sync.WaitGroup // goroutines that wait for the master, or for a name
	lastFullLog atomic.Int64   // when the log last said that no connections are taken; zero: never
	noURing     sync.Once      // says that io_uring is not to be had

	mu      sync.Mutex
	serving int // listeners
	all     []*loop
	running sync.WaitGroup
}

func newLoops(e *Edge) *loopEngine {
	setServerTLS(e.listeners)
	return &loopEngine{edge: e}
}

// newBatch returns what makes a loop's calls, on the loop's thread.
func (e *loopEngine) newBatch() *fd.Batch {
	if e.edge.cfg.SingleCalls {
		return new(fd.Batch)
	}
	b, err := fd.NewBatch()
	if err != nil {
		e.noURing.Do(func() {
			e.edge.cfg.Log.Info("io_uring is not to be had, so carrying costs more processor time", "err", err, "cure", uringRemedy(err))
		})
	}
	return b
}

// uringRemedy returns what to do about the error of fd.NewBatch.
func uringRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "raise this process's limit of open files: ulimit -n, or LimitNOFILE= of its systemd unit"
	case errors.Is(err, syscall.ENFILE):
		return "raise the system's limit of open files: sysctl fs.file-max"
	case errors.Is(err, syscall.ENOMEM):
		return "raise this process's limit of locked memory (ulimit -l, LimitMEMLOCK=), or of its control group's memory"
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL):
		return "Linux 6.1 or newer has what is needed of it; set single_calls for not being told"
	}
	return "allow it in this container (seccomp) or system (sysctl kernel.io_uring_disabled), or set single_calls for not being told"
}

// listenerService is one listener being served by all loops.
type listenerService struct {
	engine     *loopEngine
	listener   *boundListener
	draining   atomic.Bool
	killed     atomic.Bool
	conns      sync.WaitGroup // connections
	handshakes handshakeConns // of those that no loop has yet
	failed     chan error
	acceptors  map[*loop]*acceptor
	tracked    map[*loop]map[trackedConn]struct{} // each loop's own
}

// trackedConn is a client's connection of a listener.
type trackedConn interface {
	// beginDrain gives one that does nothing a moment to begin.
	beginDrain()
	// kill ends it wherever it is.
	kill()
	// limitAddr is the address for which listener.seat has taken it; invalid: for none.
	limitAddr() netip.Addr
}

// serve takes connections for a listener from l until ctx ends. Then it takes no more, lets requests finish for the drain
// time, cuts the rest, and returns when all exchanges are closed. An error tells why it stopped before.
func (e *loopEngine) serve(ctx context.Context, listener *boundListener, l net.Listener) error {
	if err := e.startFirst(); err != nil {
		return err
	}
	defer e.stopLast()
	s := &listenerService{engine: e, listener: listener, failed: make(chan error, 1), acceptors: make(map[*loop]*acceptor), tracked: make(map[*loop]map[trackedConn]struct{})}
	for _, loop := range e.all {
		s.tracked[loop] = make(map[trackedConn]struct{})
	}
	err := s.startAccept(l)
	if p, ok := l.(pausable); ok {
		p.OnPark(s.stopAccept)
	}
	if err == nil {
		e.edge.listenerAccepting()
		select {
		case err = <-s.failed:
		case <-ctx.Done():
			s.draining.Store(true) // before anybody can see that nobody listens
			time.Sleep(acceptGrace)
		}
	}
	s.draining.Store(true)
	s.stopAccept()
	_ = l.Close() // it has taken what it could
	s.drain()
	return err
}

// pausable is a listener that somebody may ask to take no more connections, though it
// is not closed: OnPark says how that is done.
type pausable interface{ OnPark(stop func()) }

// startFirst starts the loops for the first listener.
func (e *loopEngine) startFirst() error {
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
			e.stopLoops()
			return err
		}
		l.pools = make([]poolStats, len(e.edge.pools))
		e.all = append(e.all, l)
		e.running.Go(l.run)
	}
	if e.edge.polled != nil {
		e.edge.polled.Poll(e.all[0])
	}
	// A loop keeps its processor while it works; the rest of the program needs one too.
	if want := len(e.all) + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return nil
}

// stopLast stops them after the last.
func (e *loopEngine) stopLast() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving--; e.serving == 0 {
		e.stopLoops()
	}
}

func (e *loopEngine) stopLoops() {
	if e.edge.polled != nil && len(e.all) > 0 {
		e.edge.polled.Unpoll(e.all[0])
	}
	for _, l := range e.all {
		l.post(message{do: func() { l.stopped = true }})
	}
	e.running.Wait()
	if e.edge.polled != nil {
		e.edge.polled.Flush(clock.Now(), false) // what the last turns gave back
	}
	e.background.Wait()
	for _, l := range e.all {
		e.edge.mergeStats(&l.loopStats)
	}
	e.all = nil
}

// audit lets do read the books of one loop after another. It waits for the loops, so that none of them may call it.
func (e *loopEngine) audit(do func(*loopStats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.all { // none ends as long as mu is held
		read := make(chan struct{})
		l.post(message{do: func() { do(&l.loopStats); close(read) }})
		<-read
	}
}

// onEachLoop has every loop do something, and returns when they have.
func (s *listenerService) onEachLoop(do func(*loop)) {
	var done sync.WaitGroup
	for _, l := range s.engine.all {
		done.Add(1)
		if !l.post(message{do: func() { defer done.Done(); do(l) }}) {
			done.Done()
		}
	}
	done.Wait()
}

// drain lets what has begun finish for the drain time, and cuts the rest.
func (s *listenerService) drain() {
	s.draining.Store(true)
	s.handshakes.limitTimeOfAll(time.Now().Add(s.firstWait()))
	s.onEachLoop(func(l *loop) {
		for m := range s.tracked[l] {
			m.beginDrain()
		}
	})
	stop := s.engine.edge.afterGrace(func() {
		s.killed.Store(true)
		s.handshakes.limitTimeOfAll(past)
		s.onEachLoop(func(l *loop) {
			for m := range s.tracked[l] {
				m.kill()
			}
		})
	})
	s.conns.Wait()
	stop()
	s.handshakes.serving.Wait()
}

// acceptor is where a loop takes a listener's connections. All doors of a listener share
// the kernel's queue, so that none is lost with a loop or an edge that stops.
type acceptor struct {
	conn
	timer
	service      *listenerService
	inheritsTCP  bool // connections have the TCP options that the listener was given; false: each must be told
	draining     bool // nothing is waited for any more
	queueEmptied bool // the queue has been empty since: those that came before are gone
}

func (s *listenerService) startAccept(l net.Listener) error {
	all, err := fd.CopyListener(l, len(s.engine.all))
	if err != nil {
		return fmt.Errorf("connections are taken from the descriptor of a network listener, as those of package net have one, and %T: %w", l, err)
	}
	copies := make(map[*loop]*fd.FD)
	for i, loop := range s.engine.all {
		d := &acceptor{service: s, inheritsTCP: all[i].SetTCPOptions(&s.engine.edge.cfg.TCP)}
		copies[loop] = all[i]
		d.conn.owner, d.timer.owner = d, d
		s.acceptors[loop] = d
	}
	s.onEachLoop(func(l *loop) { s.acceptors[l].start(l, copies[l]) })
	return nil
}

func (d *acceptor) start(l *loop, descriptor *fd.FD) {
	if err := l.register(&d.conn, descriptor, fd.Readable|fd.EdgeTriggered|fd.Exclusive); err != nil {
		d.service.setFailed(err)
		return
	}
	d.readable = true // before it was watched, connections may have come
	d.onReady()
}

// stopAccept takes what the kernel has made and then no more.
func (s *listenerService) stopAccept() {
	s.onEachLoop(func(l *loop) {
		if d := s.acceptors[l]; d != nil && d.isOpen() {
			d.drain()
		}
	})
}

// drain ends the watch before it takes what is left: whoever comes later wakes another
// door to the same queue, were it one of another edge.
func (d *acceptor) drain() {
	d.draining = true
	d.loop.timers.stop(&d.timer)
	d.fd = d.conn.detach()
	d.readable = true
	d.onReady()
	d.fd.Close() // a copy
}

func (s *listenerService) setFailed(err error) {
	select {
	case s.failed <- err:
	default: // one failure ends them all
	}
}

// onReady implements the end's owner: it takes all there are.
func (d *acceptor) onReady() {
	places := d.service.engine.edge.cfg.Places
	for d.readable && d.isOpen() {
		if !places.Take() {
			d.pauseAccept("as many client connections as may be are open; others wait", "connections", places.Most())
			return
		}
		descriptor, from, err := d.fd.Accept()
		if err != nil {
			places.Free()
		}
		switch {
		case err == nil:
			if !d.inheritsTCP || !d.queueEmptied {
				descriptor.SetTCPOptions(&d.service.engine.edge.cfg.TCP)
			}
			d.assign(&descriptor, from)
		case err == syscall.EAGAIN:
			d.readable, d.queueEmptied = false, true
		case err == syscall.EINTR, isTemporary(err) && !exhausted(err): // a client that left before it was taken
		case exhausted(err):
			d.pauseAccept("cannot take connections just now", "err", err)
			return
		default:
			d.readable = false
			d.service.setFailed(err)
		}
	}
}

// pauseAccept takes no connections for a moment, and says why, but not each time.
func (d *acceptor) pauseAccept(why, name string, value any) {
	if d.draining {
		return // another door to the queue takes them
	}
	e, now := d.service.engine, int64(d.loop.now)
	if said := e.lastFullLog.Load(); (said == 0 || now-said > int64(fullLogEvery)) && e.lastFullLog.CompareAndSwap(said, now) {
		e.edge.cfg.Log.Warn(why, "listen", d.service.listener.Listen, name, value)
	}
	d.loop.timers.set(&d.timer, d.loop.now.Add(acceptPause))
}

// fullLogEvery is how often the log says that no connections are taken.
const fullLogEvery = 10 * time.Second

// acceptPause is how long no connections are taken when there is no room for any.
const acceptPause = 50 * time.Millisecond

// onTimer implements the timer's owner.
func (d *acceptor) onTimer() {
	d.readable = true
	d.onReady()
}

// assign gives a connection to the loop that has fewest, unless there is something to be
// done first.
func (d *acceptor) assign(descriptor *fd.FD, peer netip.AddrPort) {
	s := d.service
	limitAddr := netip.Addr{}
	if !s.listener.wantsProxyHeader() { // else it is seen whom the peer speaks for
		if why := s.listener.limitConn(peer.Addr()); why != nil {
			s.engine.edge.metrics.refused(refusal(why))
			descriptor.Close()
			s.engine.edge.cfg.Places.Free()
			return
		}
		limitAddr = peer.Addr()
	}
	s.conns.Add(1)
	if s.listener.Mode == ModeHTTP && s.listener.needsHandshake() {
		s.handshakeInBackground(descriptor, peer.Addr(), limitAddr)
		return
	}
	to := s.engine.leastLoaded(d.loop)
	to.clientConns.Add(1)
	if to == d.loop {
		to.addAccepted(s, descriptor, peer)
		return
	}
	moved := descriptor.Move()
	if !to.post(message{do: func() { to.addAccepted(s, &moved, peer) }}) {
		moved.Close()
		s.connClosed(limitAddr)
	}
}

// leastLoaded is the loop that has fewest connections; of those that have as few, this one.
func (e *loopEngine) leastLoaded(this *loop) *loop {
	for _, l := range e.all {
		if l.clientConns.Load() < this.clientConns.Load() {
			this = l
		}
	}
	return this
}

// addAccepted makes a member of an accepted descriptor.
func (l *loop) addAccepted(s *listenerService, descriptor *fd.FD, peer netip.AddrPort) {
	if s.listener.Mode == ModeTCP {
		l.addTCPClient(s, descriptor, peer)
	} else {
		l.addClient(s, descriptor, peer.Addr(), nil, nil)
	}
}

// clientGone says that a member of a loop is gone.
func (s *listenerService) clientGone(l *loop, m trackedConn) {
	delete(s.tracked[l], m)
	l.clientConns.Add(-1)
	s.connClosed(m.limitAddr())
}

// connClosed says that a connection that was taken is closed, which had a seat, if that is valid.
func (s *listenerService) connClosed(limitAddr netip.Addr) {
	if limitAddr.IsValid() {
		s.listener.releaseConn(limitAddr)
	}
	s.engine.edge.cfg.Places.Free()
	s.conns.Done()
}

const (
	// acceptGrace is how long connections are still taken when the edge is to stop:
	// the kernel has made them already.
	acceptGrace = 5 * time.Millisecond
	// freshGrace is how long a stopping edge waits for the first request on a
	// connection, idleGrace for another, and lingerGrace for either if it need not hurry.
	freshGrace  = time.Second
	idleGrace   = 50 * time.Millisecond
	lingerGrace = 5 * time.Second
)

// isTemporary: a client that left before it was taken is no fault of the listener.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
