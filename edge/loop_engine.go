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

// loops is what carries bytes between clients and servers: one loop for each core. A connection stays with the loop that
// it was given to, and so do the connections to servers that this one has made.
type loops struct {
	edge     *Edge
	aside    sync.WaitGroup // goroutines that wait for the master, or for a name
	saidFull atomic.Int64   // when the log last said that no connections are taken; zero: never
	lacks    sync.Once      // says that io_uring is not to be had

	mu      sync.Mutex
	serving int // listeners
	all     []*loop
	running sync.WaitGroup
}

func newLoops(e *Edge) *loops {
	setServerTLS(e.listeners)
	return &loops{edge: e}
}

// batch returns what makes a loop's calls, on the loop's thread.
func (e *loops) batch() *fd.Batch {
	if e.edge.cfg.SingleCalls {
		return new(fd.Batch)
	}
	b, err := fd.NewBatch()
	if err != nil {
		e.lacks.Do(func() {
			e.edge.cfg.Log.Info("io_uring is not to be had, so carrying costs more processor time", "err", err, "cure", curesRing(err))
		})
	}
	return b
}

// curesRing returns what to do about the error of fd.NewBatch.
func curesRing(err error) string {
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

// loopService is one listener being served by all loops.
type loopService struct {
	engine    *loops
	listener  *listener
	draining  atomic.Bool
	isCut     atomic.Bool
	open      sync.WaitGroup // connections
	greetings greetings      // of those that no loop has yet
	failed    chan error
	doors     map[*loop]*door
	members   map[*loop]map[member]struct{} // each loop's own
}

// member is a client's connection of a listener.
type member interface {
	// hurry gives one that does nothing a moment to begin.
	hurry()
	// cutOff ends it wherever it is.
	cutOff()
	// seat is the address for which listener.seat has taken it; invalid: for none.
	seat() netip.Addr
}

// serve takes connections for a listener from l until ctx ends. Then it takes no more, lets requests finish for the drain
// time, cuts the rest, and returns when all exchanges are closed. An error tells why it stopped before.
func (e *loops) serve(ctx context.Context, listener *listener, l net.Listener) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	s := &loopService{engine: e, listener: listener, failed: make(chan error, 1), doors: make(map[*loop]*door), members: make(map[*loop]map[member]struct{})}
	for _, loop := range e.all {
		s.members[loop] = make(map[member]struct{})
	}
	err := s.openDoors(l)
	if p, ok := l.(parkable); ok {
		p.OnPark(s.closeDoors)
	}
	if err == nil {
		e.edge.accepts()
		select {
		case err = <-s.failed:
		case <-ctx.Done():
			s.draining.Store(true) // before anybody can see that nobody listens
			time.Sleep(acceptGrace)
		}
	}
	s.draining.Store(true)
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

// audit lets do read the books of one loop after another. It waits for the loops, so that none of them may call it.
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
	s.greetings.endBy(time.Now().Add(s.firstWait()))
	s.each(func(l *loop) {
		for m := range s.members[l] {
			m.hurry()
		}
	})
	stop := s.engine.edge.afterGrace(func() {
		s.isCut.Store(true)
		s.greetings.endBy(past)
		s.each(func(l *loop) {
			for m := range s.members[l] {
				m.cutOff()
			}
		})
	})
	s.open.Wait()
	stop()
	s.greetings.serving.Wait()
}

// door is where a loop takes a listener's connections. All doors of a listener share
// the kernel's queue, so that none is lost with a loop or an edge that stops.
type door struct {
	end
	timer
	service  *loopService
	inherits bool // connections have the TCP options that the listener was given; false: each must be told
	shutting bool // nothing is waited for any more
	emptied  bool // the queue has been empty since: those that came before are gone
}

func (s *loopService) openDoors(l net.Listener) error {
	all, err := fd.CopyListener(l, len(s.engine.all))
	if err != nil {
		return fmt.Errorf("connections are taken from the descriptor of a network listener, as those of package net have one, and %T: %w", l, err)
	}
	copies := make(map[*loop]*fd.FD)
	for i, loop := range s.engine.all {
		d := &door{service: s, inherits: all[i].SetTCPOptions(&s.engine.edge.cfg.TCP)}
		copies[loop] = all[i]
		d.end.owner, d.timer.owner = d, d
		s.doors[loop] = d
	}
	s.each(func(l *loop) { s.doors[l].open(l, copies[l]) })
	return nil
}

func (d *door) open(l *loop, descriptor *fd.FD) {
	if err := l.watch(&d.end, descriptor, fd.Readable|fd.EdgeTriggered|fd.Exclusive); err != nil {
		d.service.fail(err)
		return
	}
	d.readable = true // before it was watched, connections may have come
	d.ready()
}

// closeDoors takes what the kernel has made and then no more.
func (s *loopService) closeDoors() {
	s.each(func(l *loop) {
		if d := s.doors[l]; d != nil && d.isOpen() {
			d.shut()
		}
	})
}

// shut ends the watch before it takes what is left: whoever comes later wakes another
// door to the same queue, were it one of another edge.
func (d *door) shut() {
	d.shutting = true
	d.loop.wheel.drop(&d.timer)
	d.fd = d.end.leaveLoop()
	d.readable = true
	d.ready()
	d.fd.Close() // a copy
}

func (s *loopService) fail(err error) {
	select {
	case s.failed <- err:
	default: // one failure ends them all
	}
}

// ready implements the end's owner: it takes all there are.
func (d *door) ready() {
	places := d.service.engine.edge.cfg.Places
	for d.readable && d.isOpen() {
		if !places.Take() {
			d.rest("as many client connections as may be are open; others wait", "connections", places.Most())
			return
		}
		descriptor, from, err := d.fd.Accept()
		if err != nil {
			places.Free()
		}
		switch {
		case err == nil:
			if !d.inherits || !d.emptied {
				descriptor.SetTCPOptions(&d.service.engine.edge.cfg.TCP)
			}
			d.admit(&descriptor, from)
		case err == syscall.EAGAIN:
			d.readable, d.emptied = false, true
		case err == syscall.EINTR, isTemporary(err) && !exhausted(err): // a client that left before it was taken
		case exhausted(err):
			d.rest("cannot take connections just now", "err", err)
			return
		default:
			d.readable = false
			d.service.fail(err)
		}
	}
}

// rest takes no connections for a moment, and says why, but not each time.
func (d *door) rest(why, name string, value any) {
	if d.shutting {
		return // another door to the queue takes them
	}
	e, now := d.service.engine, int64(d.loop.now)
	if said := e.saidFull.Load(); (said == 0 || now-said > int64(fullSaidEvery)) && e.saidFull.CompareAndSwap(said, now) {
		e.edge.cfg.Log.Warn(why, "listen", d.service.listener.Listen, name, value)
	}
	d.loop.wheel.set(&d.timer, d.loop.now.Add(acceptPause))
}

// fullSaidEvery is how often the log says that no connections are taken.
const fullSaidEvery = 10 * time.Second

// acceptPause is how long no connections are taken when there is no room for any.
const acceptPause = 50 * time.Millisecond

// expired implements the timer's owner.
func (d *door) expired() {
	d.readable = true
	d.ready()
}

// admit gives a connection to the loop that has fewest, unless there is something to be
// done first.
func (d *door) admit(descriptor *fd.FD, peer netip.AddrPort) {
	s := d.service
	seat := netip.Addr{}
	if !s.listener.introduces() { // else it is seen whom the peer speaks for
		if why := s.listener.admit(peer.Addr()); why != nil {
			s.engine.edge.metrics.refused(refusal(why))
			descriptor.Close()
			s.engine.edge.cfg.Places.Free()
			return
		}
		seat = peer.Addr()
	}
	s.open.Add(1)
	if s.listener.Mode == ModeHTTP && s.listener.greets() {
		s.greet(descriptor, peer.Addr(), seat)
		return
	}
	to := s.engine.least(d.loop)
	to.connects.Add(1)
	if to == d.loop {
		to.take(s, descriptor, peer)
		return
	}
	moved := descriptor.Move()
	if !to.post(letter{do: func() { to.take(s, &moved, peer) }}) {
		moved.Close()
		s.over(seat)
	}
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
func (l *loop) take(s *loopService, descriptor *fd.FD, peer netip.AddrPort) {
	if s.listener.Mode == ModeTCP {
		l.beginDuct(s, descriptor, peer)
	} else {
		l.begin(s, descriptor, peer.Addr(), nil, nil)
	}
}

// left says that a member of a loop is gone.
func (s *loopService) left(l *loop, m member) {
	delete(s.members[l], m)
	l.connects.Add(-1)
	s.over(m.seat())
}

// over says that a connection that was taken is closed, which had a seat, if that is valid.
func (s *loopService) over(seat netip.Addr) {
	if seat.IsValid() {
		s.listener.unseat(seat)
	}
	s.engine.edge.cfg.Places.Free()
	s.open.Done()
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
