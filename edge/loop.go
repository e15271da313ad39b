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

// loop carries bytes on one thread: it waits for any of its descriptors, does what can
// be done without waiting, and waits again. All it has is its own, so that it takes no
// locks; whoever else wants something of it posts a letter.
type loop struct {
	loopStats
	engine   *loopEngine
	poller   fd.Poller
	wakeConn conn // by which others wake it
	timers   timerWheel

	registrations []registration
	freeSlots     []int32
	deferred      []*conn // go on before the next wait
	running       []*conn
	idle          idlePool
	freeRequests  []*request
	trimmer       memoryTrimmer
	pipes         pipes
	idlePicks     []*blockingPick

	freeAsyncPicks []*asyncPick
	masterConns    []*masterConn

	batch       *fd.Batch
	prefetching []*conn      // that are being read early
	prefetches  []prefetched // of the events that are being dealt with
	prefetchBuf []byte

	pendingWrites []pendingWrite // wait for the end of the turn
	writeBuf      []byte         // what they say

	batching       bool // several events came at once, or letters
	batchThreshold int  // how many are not yet several

	readBuf []byte // room for a head, then what is read at once; good until the next read
	headBuf []byte // a head on its way; good until the next one
	tlsBuf  []byte // likewise, what is on its way by TLS

	// Of HTTP/2.
	frameBuf          []byte            // room for what is read of a trunk; good until the next read
	freeFrameBufs     [][]byte          // for what trunks say in a turn
	dirty             []*h2Conn         // that have something to say at the end of the turn
	freeServerStreams []*h2ServerStream // for the next streams
	h2Conns           map[target]*h2ConnList
	freeClientStreams []*h2ClientStream  // for the next streams to servers
	freeCopyBufs      [][]byte           // for large copies of requests' bodies
	freeBodyBufs      [2][][]byte        // for bodies that are read before a server is asked for: small rooms, large rooms
	awaitingMemory    []*clientConn      // whose bodies wait unread for memory
	responseHead      http1.ResponseHead // that is being translated
	trailers          http1.Trailers     // likewise

	clientConns atomic.Int64 // client connections, those on their way to it included

	mu      sync.Mutex
	mailbox []message
	asleep  bool // it must be woken for them
	closed  bool // no letter is read any more

	messages []message // those that are being read
	stopped  bool
}

// registration is where a descriptor stands. An event carries slot and generation, so that one
// for a descriptor that was closed in the same turn reaches nobody.
type registration struct {
	conn       *conn
	generation int32
}

// conn is a descriptor that a loop watches, and what is known of it. Readiness is told
// once, at its edge, and remembered until a call shows the opposite.
type conn struct {
	loop          *loop
	owner         interface{ onReady() }
	fd            fd.FD // of a stream: closed
	isStream      bool  // it is one that has not been closed
	slot          int32
	readable      bool
	writable      bool
	hup           bool        // the peer has closed its side; there may be something left to read
	wasReset      bool        // nothing can be written any more
	deferred      bool        // in loop.again
	isServer      bool        // the peer is one
	lastReadShort bool        // what came last was
	unbatched     bool        // nothing that is said waits for the end of the turn
	sentBytes     int64       // bytes that the socket has taken, so that the peer may have them
	pendingAt     int32       // what waits for it, as its index in loop.sayings and one; zero: nothing
	prefetched    *prefetched // what has been read of it already; nil: nothing
	unsentTail    *unsentTail
	tls           *tlsConn        // TLS is spoken; nil: bytes are what they are
	serverStream  *h2ServerStream // it is a stream's, and has no descriptor; nil: it has one
	clientStream  *h2ClientStream // likewise, of a server's
}

// message is what somebody else asks of a loop.
type message struct {
	do       func() // nil: the answer to an ask
	waiter   pickWaiter
	async    *asyncPick // that it answers; nil: by asked
	blocking *blockingPick
	grant    balance.Grant
	err      error
}

const (
	readSize        = 64 << 10 // what is read at once
	maxEvents       = 256      // events in one turn
	maxFreeRequests = 256      // kept for the next request
	maxHeadBuf      = 64 << 10 // a larger head's room is not kept
)

func newLoop(e *loopEngine) (*loop, error) {
	l := &loop{engine: e, readBuf: make([]byte, headRoom+readSize), headBuf: make([]byte, 0, 4<<10),
		batch: new(fd.Batch), prefetching: make([]*conn, 0, maxPrefetch), prefetches: make([]prefetched, 0, maxPrefetch), prefetchBuf: make([]byte, maxPrefetch*prefetchStride)}
	l.idle, l.h2Conns = newIdlePool(), make(map[target]*h2ConnList)
	l.poller.Eager = true
	if !e.edge.cfg.crowded {
		l.batchThreshold = 1
	}
	l.trimmer.loop, l.trimmer.owner = l, &l.trimmer
	if err := l.init(); err != nil {
		l.poller.Close()
		return nil, err
	}
	return l, nil
}

// init makes what it waits by.
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

// readiness is what connections are watched for, once and for all.
const readiness = fd.Readable | fd.Writable | fd.PeerClosed | fd.EdgeTriggered

// register moves a descriptor into e and has the loop tell e.owner of its readiness. With an
// error the descriptor is closed.
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

// deregister frees the slot, so that what is still reported of the descriptor is ignored.
func (l *loop) deregister(e *conn) {
	s := &l.registrations[e.slot]
	s.conn = nil
	s.generation++
	l.freeSlots = append(l.freeSlots, e.slot)
}

// isOpen reports whether it is watched, or a stream that goes on.
func (c *conn) isOpen() bool { return c.isStream || c.fd.IsOpen() }

// close closes the descriptor, which also ends its watch: there is no copy.
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
	c.fd.Close() // all that was to be said has been
}

// detach ends the watch, but does not close the descriptor, which it returns. What waits
// for the end of the turn goes before.
func (c *conn) detach() fd.FD {
	c.flushPending()
	c.prefetched = nil // the caller has taken it

	_ = c.loop.poller.Remove(&c.fd) // closing a copy would not do
	c.loop.deregister(c)
	return c.fd.Move()
}

// post puts a letter into the loop's box, which it empties before it next sleeps; false:
// the loop has ended.
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

// onReady implements the bell's owner. The letters are read later in the turn.
func (l *loop) onReady() {
	l.wakeConn.fd.Silence()
	l.wakeConn.readable = false
}

// runMessages does what others ask for.
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

// prepareSleep says that the loop is about to sleep, unless there is a letter to read.
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

// run serves until stopped. Its goroutine keeps its thread, if that is worth it, and so the thread its core
// and the core its caches.
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

// pollEvents returns how many events there are, and sleeps until there are some if nothing
// else is to be done. Where several came at once there are more by now: then it looks
// before it sleeps.
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

// hasWork reports whether it will look for events before it may sleep.
func (l *loop) hasWork() bool { return l.batching || len(l.deferred) > 0 }

// pollTimeout is for how many milliseconds it may sleep, less than zero without a limit.
func (l *loop) pollTimeout() int {
	wait := l.timers.untilNext(l.now)
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

// connOf returns the descriptor that an event is of; nil: it was closed in the same turn.
func (l *loop) connOf(ev *fd.Event) *conn {
	if s := &l.registrations[ev.Slot()]; s.generation == ev.Generation() {
		return s.conn
	}
	return nil
}

// dispatchEvents has the owners of events go on, of those that are servers' or of the others.
func (l *loop) dispatchEvents(events []fd.Event, servers bool) {
	for i := range events {
		if e := l.connOf(&events[i]); e != nil && e.isServer == servers {
			l.now = clock.Now()
			e.onEvent(events[i].Events)
		}
	}
}

// onEvent has the owner go on with what an event tells.
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

// runDeferred lets those go on who have had their share of the turn and have more to do.
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

// deferConn lets the owner of e go on when everybody else has had a turn.
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
			left[i].do() // somebody waits for it
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

// read reads what has come, into p. It returns EAGAIN if there is nothing, 0 and no
// error at the end.
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
	// A short read has emptied the socket: what comes later is another edge. Only the
	// peer's end may have been told already.
	if err == syscall.EAGAIN || err == nil && n < len(p) && !c.hup {
		c.readable = false
	}
	return n, err
}

// write says p, and returns how much of it goes: at once, or at the end of the turn.
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

// sendNow writes what goes.
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

// canSplice reports whether what goes over the wire is what is said, so that bytes can move
// unseen.
func (c *conn) canSplice() bool {
	return fd.CanSplice && c.tls == nil && c.serverStream == nil && c.clientStream == nil
}

// takeRequest returns room for a request.
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

// putRequest takes it back.
func (l *loop) putRequest(t *request) {
	if len(l.freeRequests) == maxFreeRequests {
		l.timers.stop(&t.progress.timer)
		l.trimmer.noteDropped()
		return
	}
	t.recycle()
	l.freeRequests = append(l.freeRequests, t)
}
