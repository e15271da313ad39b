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

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loopEngine moves bytes between clients and servers: one loop for each core. A connection stays with its
// loop, and so do the connections to servers that this loop has made.
type loopEngine struct {
	cfg         engineConfig
	deps        *exchange.Deps
	immediate   immediatePicker // nil: the picker is none
	polled      polledPicker    // nil: the picker is none
	background  sync.WaitGroup  // goroutines that wait for a master or a name
	dialer      upstream.Dialer
	lastFullLog atomic.Int64 // when refused accepts were logged last; zero: never
	noURing     sync.Once    // logs that io_uring is not available

	mu      sync.Mutex
	serving int // listeners
	all     []*worker
	running sync.WaitGroup

	drain
}

// newLoops returns an engine for these listeners, of which Serve serves one. It also uses the optional methods of the
// picker in deps: TryPick, and those of client.Masters by which a loop polls its connections.
func newLoops(cfg engineConfig, deps *exchange.Deps, listeners []*routing.BoundListener) *loopEngine {
	setServerTLS(listeners)
	e := &loopEngine{cfg: cfg, deps: deps, dialer: upstream.Dialer{Net: cfg.Net, Timeout: cfg.ConnectTimeout, TCP: cfg.TCP, Inside: cfg.Inside, Log: deps.Log,
		H2: h2conn.ClientConfig{ConnectTimeout: cfg.ConnectTimeout, IdleTimeout: routing.DefaultIdleTimeout}}}
	e.immediate, _ = deps.Picker.(immediatePicker)
	e.polled, _ = deps.Picker.(polledPicker)
	e.drain.init(cfg.DrainTime)
	return e
}

// NewBatch returns the batch of a loop's system calls. It is called on the loop's thread.
func (e *loopEngine) newBatch() *fd.Batch {
	if e.cfg.SingleCalls {
		return new(fd.Batch)
	}
	b, err := fd.NewBatch()
	if err != nil {
		e.noURing.Do(func() {
			e.deps.Log.Info("io_uring is not available, so requests cost more processor time", "err", err, "cure", uringRemedy(err))
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
		return "Linux 6.1 or newer has what is needed of it; set single_calls to silence this message"
	}
	return "allow it in this container (seccomp) or system (sysctl kernel.io_uring_disabled), or set single_calls to silence this message"
}

// listenerService is one listener served by all loops.
type listenerService struct {
	engine     *loopEngine
	listener   *routing.BoundListener
	draining   atomic.Bool
	killed     atomic.Bool
	conns      sync.WaitGroup // connections
	handshakes handshakeConns // connections that no loop has yet
	h2         h2conn.ServerConfig
	failed     chan error
	acceptors  map[*worker]*acceptor
	tracked    map[*worker]map[trackedConn]struct{} // each loop's own
}

// trackedConn is a client's connection of a listener.
type trackedConn interface {
	// beginDrain gives an idle connection a moment for one more request.
	beginDrain()
	// Kill ends it in any state.
	Kill()
	// limitAddr returns the address that listener.LimitConn has counted; invalid: none.
	limitAddr() netip.Addr
}

// Serve accepts connections from l until ctx ends, and calls accepting once it does. Then it accepts no more, lets
// requests finish for the drain time, cuts the rest, and returns when all exchanges are closed. An error says why it
// stopped before.
func (e *loopEngine) Serve(ctx context.Context, listener *routing.BoundListener, l net.Listener, accepting func()) error {
	if err := e.startFirst(); err != nil {
		return err
	}
	defer e.stopLast()
	s := &listenerService{engine: e, listener: listener, failed: make(chan error, 1), acceptors: make(map[*worker]*acceptor), tracked: make(map[*worker]map[trackedConn]struct{})}
	s.h2 = h2conn.ServerConfig{HeaderLimit: listener.HeaderLimit, HeaderTimeout: listener.HeaderTimeout, IdleTimeout: listener.IdleTimeout}
	for _, loop := range e.all {
		s.tracked[loop] = make(map[trackedConn]struct{})
	}
	err := s.startAccept(l)
	if p, ok := l.(pausable); ok {
		p.OnPark(s.stopAccept)
	}
	if err == nil {
		accepting()
		select {
		case err = <-s.failed:
		case <-ctx.Done():
			s.draining.Store(true) // before it can be seen that the listener is closed
			time.Sleep(acceptGrace)
		}
	}
	s.draining.Store(true)
	s.stopAccept()
	_ = l.Close() // it has accepted what it could
	s.drain()
	return err
}

// pausable is a listener that can be asked to accept no more although it is not closed: OnPark registers the
// function that does so.
type pausable interface{ OnPark(stop func()) }

// startFirst starts the loops for the first listener.
func (e *loopEngine) startFirst() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving++; e.serving > 1 {
		return nil
	}
	e.all = nil
	for range e.cfg.Loops {
		l, err := newWorker(e)
		if err != nil {
			e.serving--
			e.stopLoops()
			return err
		}
		l.Pools = make([]exchange.PoolStats, len(e.deps.Pools))
		e.all = append(e.all, l)
		e.running.Go(l.Run)
	}
	if e.polled != nil {
		e.polled.Poll(e.all[0])
	}
	// A loop keeps its processor while it works; the rest of the program needs one too.
	if want := len(e.all) + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return nil
}

// stopLast stops the loops after the last listener.
func (e *loopEngine) stopLast() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving--; e.serving == 0 {
		e.stopLoops()
	}
}

func (e *loopEngine) stopLoops() {
	if e.polled != nil && len(e.all) > 0 {
		e.polled.Unpoll(e.all[0])
	}
	for _, l := range e.all {
		l.Call(l.Stop)
	}
	e.running.Wait()
	if e.polled != nil {
		e.polled.Flush(clock.Now(), false) // what the last iterations have returned
	}
	e.background.Wait()
	e.dialer.Background.Wait()
	for _, l := range e.all {
		e.deps.MergeStats(&l.LoopStats)
	}
	e.all = nil
}

// VisitStats calls do with the stats of one loop after another. It waits for the loops, so a loop goroutine
// must not call it.
func (e *loopEngine) VisitStats(do func(*exchange.LoopStats)) {
	e.EachLoop(func(_ *eventloop.Loop, stats *exchange.LoopStats) { do(stats) })
}

// EachLoop calls do with one loop after another, on their goroutines. It waits for the loops, so a loop goroutine
// must not call it.
func (e *loopEngine) EachLoop(do func(*eventloop.Loop, *exchange.LoopStats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.all { // no loop ends while mu is held
		done := make(chan struct{})
		l.Call(func() { do(&l.Loop, &l.LoopStats); close(done) })
		<-done
	}
}

// onEachLoop has every loop run do, and returns when all have.
func (s *listenerService) onEachLoop(do func(*worker)) {
	var done sync.WaitGroup
	for _, l := range s.engine.all {
		done.Add(1)
		if !l.Call(func() { defer done.Done(); do(l) }) {
			done.Done()
		}
	}
	done.Wait()
}

// drain lets requests finish for the drain time, and cuts the rest.
func (s *listenerService) drain() {
	s.draining.Store(true)
	s.handshakes.limitTimeOfAll(time.Now().Add(s.firstWait()))
	s.onEachLoop(func(l *worker) {
		for m := range s.tracked[l] {
			m.beginDrain()
		}
	})
	stop := s.engine.afterGrace(func() {
		s.killed.Store(true)
		s.handshakes.limitTimeOfAll(past)
		s.onEachLoop(func(l *worker) {
			for m := range s.tracked[l] {
				m.Kill()
			}
		})
	})
	s.conns.Wait()
	stop()
	s.handshakes.serving.Wait()
}

// acceptor accepts a listener's connections for one loop. All acceptors of a listener share the kernel's
// queue, so no connection is lost with a loop or an edge that stops.
type acceptor struct {
	eventloop.Conn
	eventloop.Timer
	worker       *worker
	service      *listenerService
	inheritsTCP  bool // connections inherit the listener's TCP options; false: they are set on each
	draining     bool // the queue is read once more, without waiting
	queueEmptied bool // the queue has been empty since: older connections are gone
}

func (s *listenerService) startAccept(l net.Listener) error {
	all, err := fd.CopyListener(l, len(s.engine.all))
	if err != nil {
		return fmt.Errorf("connections are taken from the descriptor of a network listener, as those of package net have one, and %T: %w", l, err)
	}
	copies := make(map[*worker]*fd.FD)
	for i, loop := range s.engine.all {
		d := &acceptor{worker: loop, service: s, inheritsTCP: all[i].SetTCPOptions(&s.engine.cfg.TCP)}
		copies[loop] = all[i]
		d.Conn.Owner, d.Timer.Owner = d, d
		s.acceptors[loop] = d
	}
	s.onEachLoop(func(l *worker) { s.acceptors[l].start(l, copies[l]) })
	return nil
}

func (d *acceptor) start(l *worker, descriptor *fd.FD) {
	if err := l.Register(&d.Conn, descriptor, fd.Readable|fd.EdgeTriggered|fd.Exclusive); err != nil {
		d.service.setFailed(err)
		return
	}
	d.Readable = true // connections may have come before the registration
	d.OnReady()
}

// stopAccept accepts what is in the kernel's queue, and then no more.
func (s *listenerService) stopAccept() {
	s.onEachLoop(func(l *worker) {
		if d := s.acceptors[l]; d != nil && d.IsOpen() {
			d.drain()
		}
	})
}

// drain ends the registration before it accepts what is left: a later connection then wakes another acceptor
// of the queue, perhaps one of another edge.
func (d *acceptor) drain() {
	d.draining = true
	d.worker.Timers.Stop(&d.Timer)
	d.FD = d.Conn.Detach()
	d.Readable = true
	d.OnReady()
	d.FD.Close() // a copy
}

func (s *listenerService) setFailed(err error) {
	select {
	case s.failed <- err:
	default: // one failure ends all
	}
}

// OnReady implements the connection's owner: it accepts all there are.
func (d *acceptor) OnReady() {
	places := d.service.engine.cfg.Places
	for d.Readable && d.IsOpen() {
		if !places.Take() {
			d.pauseAccept("the limit of open client connections is reached; others wait", "connections", places.Most())
			return
		}
		descriptor, from, err := d.FD.Accept()
		if err != nil {
			places.Free()
		}
		switch {
		case err == nil:
			if !d.inheritsTCP || !d.queueEmptied {
				descriptor.SetTCPOptions(&d.service.engine.cfg.TCP)
			}
			d.assign(&descriptor, from)
		case err == syscall.EAGAIN:
			d.Readable, d.queueEmptied = false, true
		case err == syscall.EINTR, isTemporary(err) && !upstream.Exhausted(err): // the client has left before
		case upstream.Exhausted(err):
			d.pauseAccept("cannot accept connections", "err", err)
			return
		default:
			d.Readable = false
			d.service.setFailed(err)
		}
	}
}

// pauseAccept accepts nothing for a moment, and logs why now and then.
func (d *acceptor) pauseAccept(why, name string, value any) {
	if d.draining {
		return // another acceptor of the queue takes them
	}
	e, now := d.service.engine, int64(d.worker.Now)
	if said := e.lastFullLog.Load(); (said == 0 || now-said > int64(fullLogEvery)) && e.lastFullLog.CompareAndSwap(said, now) {
		e.deps.Log.Warn(why, "listen", d.service.listener.Listen, name, value)
	}
	d.worker.Timers.Set(&d.Timer, d.worker.Now.Add(acceptPause))
}

// fullLogEvery is how often refused accepts are logged.
const fullLogEvery = 10 * time.Second

// acceptPause is how long nothing is accepted after a refusal.
const acceptPause = 50 * time.Millisecond

// OnTimer implements the timer's owner.
func (d *acceptor) OnTimer() {
	d.Readable = true
	d.OnReady()
}

// assign gives a connection to the loop with the fewest, unless there is a handshake first.
func (d *acceptor) assign(descriptor *fd.FD, peer netip.AddrPort) {
	s := d.service
	limitAddr := netip.Addr{}
	if !s.listener.WantsProxyHeader() { // otherwise the PROXY header says who the client is
		if why := s.listener.LimitConn(peer.Addr()); why != nil {
			s.engine.deps.Metrics.ConnRefused(why)
			descriptor.Close()
			s.engine.cfg.Places.Free()
			return
		}
		limitAddr = peer.Addr()
	}
	s.conns.Add(1)
	if s.listener.Mode == routing.ModeHTTP && s.listener.NeedsHandshake() {
		s.handshakeInBackground(descriptor, peer.Addr(), limitAddr)
		return
	}
	to := s.engine.leastLoaded(d.worker)
	to.clientConns.Add(1)
	if to == d.worker {
		to.addAccepted(s, descriptor, peer)
		return
	}
	moved := descriptor.Move()
	if !to.Call(func() { to.addAccepted(s, &moved, peer) }) {
		moved.Close()
		s.connClosed(limitAddr)
	}
}

// leastLoaded returns the loop with the fewest connections; of equals, this one.
func (e *loopEngine) leastLoaded(this *worker) *worker {
	for _, l := range e.all {
		if l.clientConns.Load() < this.clientConns.Load() {
			this = l
		}
	}
	return this
}

// addAccepted adds an accepted descriptor to the loop.
func (l *worker) addAccepted(s *listenerService, descriptor *fd.FD, peer netip.AddrPort) {
	if s.listener.Mode == routing.ModeTCP {
		l.addTCPClient(s, descriptor, peer)
	} else {
		l.addClient(s, descriptor, peer.Addr(), nil, nil, nil)
	}
}

// ClientGone removes a connection of a loop.
func (s *listenerService) clientGone(l *worker, m trackedConn) {
	delete(s.tracked[l], m)
	l.clientConns.Add(-1)
	s.connClosed(m.limitAddr())
}

// ConnClosed counts an accepted connection as closed, for LimitConn too if the address is valid.
func (s *listenerService) connClosed(limitAddr netip.Addr) {
	if limitAddr.IsValid() {
		s.listener.ReleaseConn(limitAddr)
	}
	s.engine.cfg.Places.Free()
	s.conns.Done()
}

const (
	// acceptGrace is how long a stopping edge still accepts: the kernel has made these connections already.
	acceptGrace = 5 * time.Millisecond
	// freshGrace is how long a stopping edge waits for the first request on a
	// connection, idleGrace for another, and lingerGrace for either if it need not hurry.
	freshGrace  = time.Second
	idleGrace   = 50 * time.Millisecond
	lingerGrace = 5 * time.Second
)

// isTemporary reports whether a client has left before it was accepted, which is no fault of the listener.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
