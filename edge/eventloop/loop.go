package eventloop

import (
	"runtime"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Loop moves bytes on one thread: it waits for events of any of its connections, does what can be done without
// blocking, and waits again. Unless said otherwise its fields belong to the loop goroutine, which takes no
// locks for them; other goroutines post a message.
type Loop struct {
	Now     balance.Instant // when the current event began, or the current part of an iteration
	Timers  TimerWheel
	Pipes   PipePool
	ReadBuf []byte // the bytes of one read; valid until the next read

	cfg           Config
	user          User
	poller        fd.Poller
	wakeConn      Conn // by which other goroutines wake the loop
	mailbox       mailbox
	registrations []registration
	freeSlots     []int32
	deferred      []*Conn // connections that go on before the next wait
	running       []*Conn
	Stopped       bool
	tlsBuf        []byte // encrypted records being written; valid until the next ones

	batch          *fd.Batch
	batching       bool           // the last wait returned several events or messages
	batchThreshold int            // how many are not yet several
	prefetching    []*Conn        // connections whose prefetch is in progress
	prefetches     []prefetched   // of the events that are being handled
	prefetchBuf    []byte         // what prefetches read
	pendingWrites  []pendingWrite // writes deferred to the end of the iteration
	writeBuf       []byte         // the bytes of pendingWrites
}

// Config is how a loop works.
type Config struct {
	NewBatch    func() *fd.Batch // makes the batch of the loop's system calls, on its thread; nil: each is made by itself
	MaxTurn     time.Duration    // how long one connection may be handled before others have a turn
	ReadSize    int              // bytes of ReadBuf
	AlwaysBatch bool             // also after a wait that returned one event; for tests
}

// User is what a loop works for.
type User interface {
	// EndTurn is called at the end of each iteration. What it writes is sent with what the iteration has
	// deferred.
	EndTurn()
	// CloseAll closes what is kept when the loop has stopped.
	CloseAll()
}

// registration is the slot of a descriptor. An event carries slot and generation, so an event of a descriptor
// that was closed in the same iteration is dropped.
type registration struct {
	conn       *Conn
	generation int32
}

const maxEvents = 256 // of one iteration

// Init makes a loop ready to run. After an error it is not used, and need not be closed.
func (l *Loop) Init(cfg Config, user User) error {
	l.cfg, l.user, l.batch = cfg, user, new(fd.Batch)
	l.ReadBuf = make([]byte, cfg.ReadSize)
	l.prefetching, l.prefetches = make([]*Conn, 0, maxPrefetch), make([]prefetched, 0, maxPrefetch)
	l.prefetchBuf = make([]byte, maxPrefetch*prefetchStride)
	l.poller.Eager = true
	if !cfg.AlwaysBatch {
		l.batchThreshold = 1
	}
	if err := l.open(); err != nil {
		l.poller.Close()
		return err
	}
	return nil
}

// open creates the poller and the descriptor that wakes it.
func (l *Loop) open() error {
	if err := l.poller.Open(); err != nil {
		return err
	}
	b, err := fd.NewBell()
	if err != nil {
		return err
	}
	l.wakeConn.Owner = l
	return l.Register(&l.wakeConn, &b, fd.Readable|fd.EdgeTriggered)
}

// Readiness is the events that connections are registered for.
const Readiness = fd.Readable | fd.Writable | fd.PeerClosed | fd.EdgeTriggered

// Register moves a descriptor into e and registers it: e.owner is called when it is ready. On an error the
// descriptor is closed.
func (l *Loop) Register(e *Conn, descriptor *fd.FD, events uint32) error {
	e.Loop, e.FD = l, descriptor.Move()
	if n := len(l.freeSlots); n > 0 {
		e.slot, l.freeSlots = l.freeSlots[n-1], l.freeSlots[:n-1]
	} else {
		e.slot = int32(len(l.registrations))
		l.registrations = append(l.registrations, registration{})
	}
	s := &l.registrations[e.slot]
	s.conn = e
	err := l.poller.Add(&e.FD, events, e.slot, s.generation)
	if err != nil {
		l.deregister(e)
		e.FD.Close()
	}
	return err
}

// deregister frees the slot, so that later events of the descriptor are dropped.
func (l *Loop) deregister(e *Conn) {
	s := &l.registrations[e.slot]
	s.conn = nil
	s.generation++
	l.freeSlots = append(l.freeSlots, e.slot)
}

// Run serves until stopped. Where it pays, its goroutine keeps its thread, and with it the core and its
// caches.
func (l *Loop) Run() {
	if fd.OwnThread {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if l.cfg.NewBatch != nil {
		l.batch = l.cfg.NewBatch()
	}
	l.Now = clock.Now()
	l.Timers.start(l.Now)
	events := make([]fd.Event, maxEvents)
	for !l.Stopped {
		l.handleEvents(events[:l.pollEvents(events)])
		l.Now = clock.Now()
		l.Timers.advance(l.Now)
		l.runDeferred()
		l.runMessages()
		l.user.EndTurn()
		l.flushWrites()
	}
	l.Shutdown()
}

// pollEvents returns the number of events. It sleeps until there is one if nothing else is to be done. After
// several events more have come meanwhile, so it polls before it sleeps.
func (l *Loop) pollEvents(events []fd.Event) (n int) {
	if l.HasWork() || !l.mailbox.prepareSleep() {
		n = l.poller.Look(events)
	} else {
		n = l.poller.Wait(events, l.pollTimeout())
		l.mailbox.endSleep()
	}
	l.batching = n > l.batchThreshold
	return n
}

// HasWork reports whether the loop polls before it may sleep.
func (l *Loop) HasWork() bool { return l.batching || len(l.deferred) > 0 }

// pollTimeout returns for how many milliseconds the loop may sleep; negative: without a limit.
func (l *Loop) pollTimeout() int {
	wait := l.Timers.untilNext(l.Now)
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

// connOf returns the connection of an event; nil: it was closed in the same iteration.
func (l *Loop) connOf(ev *fd.Event) *Conn {
	if s := &l.registrations[ev.Slot()]; s.generation == ev.Generation() {
		return s.conn
	}
	return nil
}

// dispatchEvents handles the events of servers, or those of all others.
func (l *Loop) dispatchEvents(events []fd.Event, servers bool) {
	for i := range events {
		if e := l.connOf(&events[i]); e != nil && e.IsServer == servers {
			l.Now = clock.Now()
			e.onEvent(events[i].Events)
		}
	}
}

// runDeferred calls the owners of deferred connections.
func (l *Loop) runDeferred() {
	l.deferred, l.running = l.running[:0], l.deferred
	for i, e := range l.running {
		l.running[i] = nil
		e.Deferred = false
		if e.IsOpen() {
			e.Owner.OnReady()
		}
	}
}

// Defer has e's owner called again after all others have had their turn.
func (l *Loop) Defer(e *Conn) {
	if !e.Deferred {
		e.Deferred = true
		l.deferred = append(l.deferred, e)
	}
}

// NewTurn returns the budget of one connection in this iteration.
func (l *Loop) NewTurn() limits.Turn { return limits.Turn{Most: l.cfg.MaxTurn} }

// Deadline returns when a wait that begins now ends; zero, if it is: never.
func (l *Loop) Deadline(wait time.Duration) balance.Instant {
	if wait == 0 {
		return 0
	}
	return l.Now.Add(wait)
}

// Stop ends run. It is called on the loop goroutine.
func (l *Loop) Stop() { l.Stopped = true }

// Shutdown closes what the loop has kept. Its user's connections are closed.
func (l *Loop) Shutdown() {
	l.mailbox.close()
	l.user.CloseAll()
	l.batch.Close()
	l.Pipes.close()
	l.wakeConn.Close()
	l.poller.Close()
}

// Owners calls do with the owner of every registered connection. do may close connections.
func (l *Loop) Owners(do func(owner Owner)) {
	for i := range l.registrations {
		if c := l.registrations[i].conn; c != nil && c != &l.wakeConn {
			do(c.Owner)
		}
	}
}
