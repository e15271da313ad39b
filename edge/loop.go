package edge

import (
	"runtime"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loop moves bytes on one thread: it waits for events of any of its connections, does what can be done without
// blocking, and waits again. Unless said otherwise its fields belong to the loop goroutine, which takes no
// locks for them; other goroutines post a message.
type loop struct {
	now     balance.Instant // when the current event began, or the current part of an iteration
	timers  timerWheel
	pipes   pipes
	readBuf []byte // the bytes of one read; valid until the next read

	cfg           loopConfig
	user          loopUser
	poller        fd.Poller
	wakeConn      conn // by which other goroutines wake the loop
	mailbox       mailbox
	registrations []registration
	freeSlots     []int32
	deferred      []*conn // connections that go on before the next wait
	running       []*conn
	stopped       bool
	tlsBuf        []byte // encrypted records being written; valid until the next ones

	batch          *fd.Batch
	batching       bool           // the last wait returned several events or messages
	batchThreshold int            // how many are not yet several
	prefetching    []*conn        // connections whose prefetch is in progress
	prefetches     []prefetched   // of the events that are being handled
	prefetchBuf    []byte         // what prefetches read
	pendingWrites  []pendingWrite // writes deferred to the end of the iteration
	writeBuf       []byte         // the bytes of pendingWrites
}

// loopConfig is how a loop works.
type loopConfig struct {
	newBatch    func() *fd.Batch // makes the batch of the loop's system calls, on its thread; nil: each is made by itself
	maxTurn     time.Duration    // how long one connection may be handled before others have a turn
	readSize    int              // bytes of readBuf
	alwaysBatch bool             // also after a wait that returned one event; for tests
}

// loopUser is whom a loop works for.
type loopUser interface {
	// endTurn is called at the end of each iteration. What it writes is sent with what the iteration has
	// deferred.
	endTurn()
	// closeAll closes what is kept when the loop has stopped.
	closeAll()
}

// registration is the slot of a descriptor. An event carries slot and generation, so an event of a descriptor
// that was closed in the same iteration is dropped.
type registration struct {
	conn       *conn
	generation int32
}

const maxEvents = 256 // of one iteration

// init makes a loop ready to run. After an error it is not used, and need not be closed.
func (l *loop) init(cfg loopConfig, user loopUser) error {
	l.cfg, l.user, l.batch = cfg, user, new(fd.Batch)
	l.readBuf = make([]byte, cfg.readSize)
	l.prefetching, l.prefetches = make([]*conn, 0, maxPrefetch), make([]prefetched, 0, maxPrefetch)
	l.prefetchBuf = make([]byte, maxPrefetch*prefetchStride)
	l.poller.Eager = true
	if !cfg.alwaysBatch {
		l.batchThreshold = 1
	}
	if err := l.open(); err != nil {
		l.poller.Close()
		return err
	}
	return nil
}

// open creates the poller and the descriptor that wakes it.
func (l *loop) open() error {
	if err := l.poller.Open(); err != nil {
		return err
	}
	b, err := fd.NewBell()
	if err != nil {
		return err
	}
	l.wakeConn.owner = l
	return l.register(&l.wakeConn, &b, fd.Readable|fd.EdgeTriggered)
}

// readiness is the events that connections are registered for.
const readiness = fd.Readable | fd.Writable | fd.PeerClosed | fd.EdgeTriggered

// register moves a descriptor into e and registers it: e.owner is called when it is ready. On an error the
// descriptor is closed.
func (l *loop) register(e *conn, descriptor *fd.FD, events uint32) error {
	e.loop, e.fd = l, descriptor.Move()
	if n := len(l.freeSlots); n > 0 {
		e.slot, l.freeSlots = l.freeSlots[n-1], l.freeSlots[:n-1]
	} else {
		e.slot = int32(len(l.registrations))
		l.registrations = append(l.registrations, registration{})
	}
	s := &l.registrations[e.slot]
	s.conn = e
	err := l.poller.Add(&e.fd, events, e.slot, s.generation)
	if err != nil {
		l.deregister(e)
		e.fd.Close()
	}
	return err
}

// deregister frees the slot, so that later events of the descriptor are dropped.
func (l *loop) deregister(e *conn) {
	s := &l.registrations[e.slot]
	s.conn = nil
	s.generation++
	l.freeSlots = append(l.freeSlots, e.slot)
}

// run serves until stopped. Where it pays, its goroutine keeps its thread, and with it the core and its
// caches.
func (l *loop) run() {
	if fd.OwnThread {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if l.cfg.newBatch != nil {
		l.batch = l.cfg.newBatch()
	}
	l.now = clock.Now()
	l.timers.start(l.now)
	events := make([]fd.Event, maxEvents)
	for !l.stopped {
		l.handleEvents(events[:l.pollEvents(events)])
		l.now = clock.Now()
		l.timers.advance(l.now)
		l.runDeferred()
		l.runMessages()
		l.user.endTurn()
		l.flushWrites()
	}
	l.shutdown()
}

// pollEvents returns the number of events. It sleeps until there is one if nothing else is to be done. After
// several events more have come meanwhile, so it polls before it sleeps.
func (l *loop) pollEvents(events []fd.Event) (n int) {
	if l.hasWork() || !l.mailbox.prepareSleep() {
		n = l.poller.Look(events)
	} else {
		n = l.poller.Wait(events, l.pollTimeout())
		l.mailbox.endSleep()
	}
	l.batching = n > l.batchThreshold
	return n
}

// hasWork reports whether the loop polls before it may sleep.
func (l *loop) hasWork() bool { return l.batching || len(l.deferred) > 0 }

// pollTimeout returns for how many milliseconds the loop may sleep; negative: without a limit.
func (l *loop) pollTimeout() int {
	wait := l.timers.untilNext(l.now)
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

// connOf returns the connection of an event; nil: it was closed in the same iteration.
func (l *loop) connOf(ev *fd.Event) *conn {
	if s := &l.registrations[ev.Slot()]; s.generation == ev.Generation() {
		return s.conn
	}
	return nil
}

// dispatchEvents handles the events of servers, or those of all others.
func (l *loop) dispatchEvents(events []fd.Event, servers bool) {
	for i := range events {
		if e := l.connOf(&events[i]); e != nil && e.isServer == servers {
			l.now = clock.Now()
			e.onEvent(events[i].Events)
		}
	}
}

// runDeferred calls the owners of deferred connections.
func (l *loop) runDeferred() {
	l.deferred, l.running = l.running[:0], l.deferred
	for i, e := range l.running {
		l.running[i] = nil
		e.deferred = false
		if e.isOpen() {
			e.owner.onReady()
		}
	}
}

// deferConn has e's owner called again after all others have had their turn.
func (l *loop) deferConn(e *conn) {
	if !e.deferred {
		e.deferred = true
		l.deferred = append(l.deferred, e)
	}
}

// newTurn returns the budget of one connection in this iteration.
func (l *loop) newTurn() limits.Turn { return limits.Turn{Most: l.cfg.maxTurn} }

// deadline returns when a wait that begins now ends; zero, if it is: never.
func (l *loop) deadline(wait time.Duration) balance.Instant {
	if wait == 0 {
		return 0
	}
	return l.now.Add(wait)
}

// stop ends run. It is called on the loop goroutine.
func (l *loop) stop() { l.stopped = true }

// shutdown closes what the loop has kept. Its user's connections are closed.
func (l *loop) shutdown() {
	l.mailbox.close()
	l.user.closeAll()
	l.batch.Close()
	l.pipes.close()
	l.wakeConn.close()
	l.poller.Close()
}

// owners calls do with the owner of every registered connection. do may close connections.
func (l *loop) owners(do func(owner connOwner)) {
	for i := range l.registrations {
		if c := l.registrations[i].conn; c != nil && c != &l.wakeConn {
			do(c.owner)
		}
	}
}
