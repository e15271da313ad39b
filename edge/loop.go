package edge

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loop moves bytes on one thread: it waits for events of any of its connections, does what can be done without
// blocking, and waits again. Unless said otherwise its fields belong to the loop goroutine, which takes no
// locks for them; other goroutines post a message.
type loop struct {
	loopStats
	engine   *loopEngine
	poller   fd.Poller
	wakeConn conn // by which other goroutines wake the loop
	timers   timerWheel

	registrations []registration
	freeSlots     []int32
	deferred      []*conn // connections that go on before the next wait
	running       []*conn
	idle          idlePool
	freeRequests  []*request
	trimmer       memoryTrimmer
	pipes         pipes
	idlePicks     []*blockingPick

	freeAsyncPicks []*asyncPick
	masterConns    []*masterConn

	batch       *fd.Batch
	prefetching []*conn      // connections whose prefetch is in progress
	prefetches  []prefetched // of the events that are being handled
	prefetchBuf []byte

	pendingWrites []pendingWrite // writes deferred to the end of the iteration
	writeBuf      []byte         // the bytes of pendingWrites

	batching       bool // the last wait returned several events or messages
	batchThreshold int  // how many are not yet several

	readBuf []byte // space for a head, then the bytes of one read; valid until the next read
	headBuf []byte // a head being written; valid until the next one
	tlsBuf  []byte // encrypted records being written; valid until the next ones

	// HTTP/2.
	frameBuf          []byte            // bytes read from an HTTP/2 connection; valid until the next read
	freeFrameBufs     [][]byte          // free buffers for the frames of one iteration
	dirty             []*h2Conn         // HTTP/2 connections that have frames to send at the end of the iteration
	freeServerStreams []*h2ServerStream // free, for later streams
	h2Conns           map[target]*h2ConnList
	freeClientStreams []*h2ClientStream  // free, for later streams to servers
	freeCopyBufs      [][]byte           // free, for large copies of request bodies
	freeBodyBufs      [2][][]byte        // free, for request bodies that are read before a server is asked for: small, large
	awaitingMemory    []*clientConn      // clients whose request bodies wait for memory
	responseHead      http1.ResponseHead // the response head that is being translated
	trailers          http1.Trailers     // the trailers that are being translated

	clientConns atomic.Int64 // including those on their way to the loop

	mu      sync.Mutex
	mailbox []message
	asleep  bool // a message has to wake the loop
	closed  bool // posted messages are dropped

	messages []message // messages that are being run
	stopped  bool
}

// registration is the slot of a descriptor. An event carries slot and generation, so an event of a descriptor
// that was closed in the same iteration is dropped.
type registration struct {
	conn       *conn
	generation int32
}

// conn is a non-blocking descriptor registered edge-triggered with the loop, or an HTTP/2 stream that behaves
// like one. readable and writable cache the last reported readiness; a read or write that returns EAGAIN
// clears them.
type conn struct {
	loop          *loop
	owner         interface{ onReady() }
	fd            fd.FD // of a stream: closed
	isStream      bool  // it is a stream that is open
	slot          int32
	readable      bool
	writable      bool
	hup           bool        // the peer has closed its side; there may be something left to read
	wasReset      bool        // nothing can be written any more
	deferred      bool        // is in loop.deferred
	isServer      bool        // the peer is a server
	lastReadShort bool        // the last read returned less than shortRead bytes, so the next one may be prefetched
	unbatched     bool        // its writes are not deferred
	sentBytes     int64       // bytes that the socket has taken, which the peer may have
	pendingAt     int32       // its deferred write, as an index in loop.pendingWrites plus one; zero: none
	prefetched    *prefetched // bytes read before the owner asked for them; nil: none
	unsentTail    *unsentTail
	tls           *tlsConn        // nil: the connection is not encrypted
	serverStream  *h2ServerStream // it is a client's HTTP/2 stream; nil: it is not
	clientStream  *h2ClientStream // it is a server's HTTP/2 stream; nil: it is not
}

// message is what another goroutine posts to a loop: a function or the answer to a pick.
type message struct {
	do       func() // nil: the answer to a pick
	waiter   pickWaiter
	async    *asyncPick // the pick that it answers; nil: blocking's
	blocking *blockingPick
	grant    balance.Grant
	err      error
}

const (
	readSize        = 64 << 10 // bytes of one read
	maxEvents       = 256      // events of one iteration
	maxFreeRequests = 256      // kept for later requests
	maxHeadBuf      = 64 << 10 // larger buffers are not kept
)

func newLoop(e *loopEngine) (*loop, error) {
	l := &loop{engine: e, readBuf: make([]byte, headSpace+readSize), headBuf: make([]byte, 0, 4<<10),
		batch: new(fd.Batch), prefetching: make([]*conn, 0, maxPrefetch), prefetches: make([]prefetched, 0, maxPrefetch), prefetchBuf: make([]byte, maxPrefetch*prefetchStride)}
	l.idle, l.h2Conns = newIdlePool(), make(map[target]*h2ConnList)
	l.poller.Eager = true
	if !e.edge.cfg.alwaysBatch {
		l.batchThreshold = 1
	}
	l.trimmer.loop, l.trimmer.owner = l, &l.trimmer
	if err := l.init(); err != nil {
		l.poller.Close()
		return nil, err
	}
	return l, nil
}

// init creates the poller and the eventfd.
func (l *loop) init() error {
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

// isOpen reports whether the descriptor or the stream is open.
func (c *conn) isOpen() bool { return c.isStream || c.fd.IsOpen() }

// close closes the descriptor, which also ends its registration: there is no copy.
func (c *conn) close() {
	if !c.isOpen() {
		return
	}
	switch {
	case c.serverStream != nil:
		c.serverStream.closeStream()
		return
	case c.clientStream != nil:
		c.clientStream.closeStream()
		return
	}
	c.flushPending()
	c.prefetched = nil
	c.loop.deregister(c)
	c.fd.Close() // all writes have gone
}

// detach ends the registration and returns the descriptor, which stays open. Deferred writes go first.
func (c *conn) detach() fd.FD {
	c.flushPending()
	c.prefetched = nil // the caller has taken it

	_ = c.loop.poller.Remove(&c.fd) // closing a copy would not remove it
	c.loop.deregister(c)
	return c.fd.Move()
}

// post adds a message, which the loop runs before it next sleeps. It returns false if the loop has ended. Any
// goroutine may call it.
func (l *loop) post(m message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.mailbox = append(l.mailbox, m)
	if l.asleep {
		l.asleep = false
		l.wakeConn.fd.Ring()
	}
	return true
}

// onReady implements the wake connection's owner. Messages are run later in the iteration.
func (l *loop) onReady() {
	l.wakeConn.fd.Silence()
	l.wakeConn.readable = false
}

// runMessages runs the posted messages.
func (l *loop) runMessages() {
	l.mu.Lock()
	l.messages, l.mailbox = l.mailbox, l.messages[:0]
	l.mu.Unlock()
	l.batching = l.batching || len(l.messages) > l.batchThreshold
	for i := range l.messages {
		if m := &l.messages[i]; m.do != nil {
			m.do()
		} else {
			l.deliverPick(m)
		}
		l.messages[i] = message{}
	}
}

// prepareSleep announces that the loop is about to sleep. It returns false if there is a message.
func (l *loop) prepareSleep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = len(l.mailbox) == 0
	return l.asleep
}

func (l *loop) endSleep() {
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
}

// run serves until stopped. Where it pays, its goroutine keeps its thread, and with it the core and its
// caches.
func (l *loop) run() {
	if fd.OwnThread {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	l.batch = l.engine.newBatch()
	l.now = clock.Now()
	l.timers.start(l.now)
	events := make([]fd.Event, maxEvents)
	for !l.stopped {
		l.handleEvents(events[:l.pollEvents(events)])
		l.now = clock.Now()
		l.timers.advance(l.now)
		l.runDeferred()
		l.runMessages()
		l.flushFrames()
		if d := l.engine.edge.polled; d != nil {
			d.Flush(l.now, l.hasWork())
		}
		l.flushWrites()
	}
	l.shutdown()
}

// pollEvents returns the number of events. It sleeps until there is one if nothing else is to be done. After
// several events more have come meanwhile, so it polls before it sleeps.
func (l *loop) pollEvents(events []fd.Event) (n int) {
	if l.hasWork() || !l.prepareSleep() {
		n = l.poller.Look(events)
	} else {
		n = l.poller.Wait(events, l.pollTimeout())
		l.endSleep()
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

// onEvent updates the readiness and calls the owner.
func (c *conn) onEvent(events uint32) {
	if events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != 0 {
		c.readable = true
	}
	if events&(fd.Writable|fd.HungUp|fd.Failed) != 0 {
		c.writable = true
	}
	c.hup = c.hup || events&(fd.PeerClosed|fd.HungUp|fd.Failed) != 0
	c.wasReset = c.wasReset || events&(fd.HungUp|fd.Failed) != 0
	if c.unsentTail != nil && c.writable {
		c.retryUnsent()
	}
	c.owner.onReady()
	if c.prefetched != nil {
		c.keepPrefetched()
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

// shutdown closes what the loop has kept. No client is left.
func (l *loop) shutdown() {
	l.mu.Lock()
	l.closed = true
	left := l.mailbox
	l.mailbox = nil
	l.mu.Unlock()
	for i := range left {
		if left[i].do != nil {
			left[i].do() // the poster waits for it
		}
	}
	l.idle.close()
	l.closeH2Conns()
	for _, a := range l.idlePicks {
		close(a.next)
	}
	for _, w := range l.masterConns {
		w.close()
	}
	l.batch.Close()
	l.pipes.close()
	l.wakeConn.close()
	l.poller.Close()
}

// read reads into p. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (c *conn) read(p []byte) (int, error) {
	switch {
	case c.tls != nil:
		return c.tls.read(p)
	case c.serverStream != nil:
		return c.serverStream.read(p)
	case c.clientStream != nil:
		return c.clientStream.read(p)
	case c.prefetched != nil:
		return c.takePrefetched(p)
	}
	n, err := c.fd.Receive(p)
	if n > 0 {
		c.lastReadShort = n < shortRead
	}
	// A short read has emptied the socket: later bytes cause another event. Only the peer's end may have been
	// reported already.
	if err == syscall.EAGAIN || err == nil && n < len(p) && !c.hup {
		c.readable = false
	}
	return n, err
}

// write writes p, now or at the end of the iteration, and returns how much was accepted.
func (c *conn) write(p []byte) (n int, err error) {
	switch {
	case c.serverStream != nil:
		n = c.serverStream.write(p)
		c.writable = n == len(p)
		return n, nil
	case c.clientStream != nil:
		n = c.clientStream.write(p)
		c.writable = n == len(p)
		return n, nil
	case c.deferWrite(p):
		return len(p), nil
	}
	if c.flushPending(); c.unsentTail != nil {
		return 0, c.unsentTail.failed
	}
	return c.sendNow(p)
}

// sendNow writes what the socket takes.
func (c *conn) sendNow(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := c.fd.Send(p[n:])
		if err == syscall.EAGAIN {
			c.writable = false
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += m
		c.sentBytes += int64(m)
	}
	return n, nil
}

// canSplice reports whether the descriptor carries the bytes as they are, so that the kernel can move them.
func (c *conn) canSplice() bool {
	return fd.CanSplice && c.tls == nil && c.serverStream == nil && c.clientStream == nil
}

// takeRequest returns a free request.
func (l *loop) takeRequest() *request {
	if n := len(l.freeRequests); n > 0 {
		t := l.freeRequests[n-1]
		l.freeRequests = l.freeRequests[:n-1]
		return t
	}
	t := new(request)
	t.exchange.loop = &l.loopStats
	return t
}

// putRequest frees a request.
func (l *loop) putRequest(t *request) {
	if len(l.freeRequests) == maxFreeRequests {
		l.timers.stop(&t.progress.timer)
		l.trimmer.noteDropped()
		return
	}
	t.recycle()
	l.freeRequests = append(l.freeRequests, t)
}
