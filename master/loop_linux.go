//go:build !evenkeel_portable

package master

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loop reads and answers many peers on one thread: it waits until any of them is readable, handles what has
// come, and waits again. Unless said otherwise its fields belong to the loop goroutine; other goroutines post
// a function to it.
type loop struct {
	group         *loopGroup
	gather        time.Duration // how long work may be gathered; zero: not at all
	poller        fd.Poller
	wakeFD        fd.FD // eventfd by which other goroutines wake the loop
	now           balance.Instant
	lastIteration balance.Instant // when the previous iteration began

	registrations []registration
	freeIndexes   []int32
	deferred      []*loopConn // connections that go on before the next wait
	running       []*loopConn
	readBuf       []byte        // bytes of one read; valid until the next read
	buffers       decodeBuffers // decoded frames; valid until the next frame

	conns         atomic.Int64 // connections, including those on their way to the loop
	coalescing    atomic.Bool
	coalesceEnd   chan struct{}
	coalesceTimer *time.Timer // bounds coalesce

	mu      sync.Mutex
	mailbox []func()
	woken   bool // wakeFD has been written for mailbox
	closed  bool // posted functions are dropped

	messages []func() // functions that are being run
	stopped  bool
}

// registration is the slot of a connection. An event carries index and generation, so an event of a connection
// that has left in the same iteration is dropped. lastReceived is stored here so that checkQuiet need not
// fetch thousands of connections.
type registration struct {
	conn         *loopConn
	lastReceived balance.Instant
	generation   int32
}

const (
	maxEvents   = 256                  // events of one iteration
	agentGather = 8 * time.Millisecond // how long agents' loops gather reports

	// readSize is a few hundred asks. While they are answered, edges send the next ones; with more at once
	// both sides would wait for each other in turns.
	readSize  = 8 << 10
	wakeIndex = -1
)

func newLoop(all *loopGroup, gather time.Duration) (*loop, error) {
	l := &loop{group: all, gather: gather, coalesceEnd: make(chan struct{}, 1), readBuf: make([]byte, readSize)}
	if err := l.open(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// open creates the epoll instance and the eventfd.
func (l *loop) open() (err error) {
	if err := l.poller.Open(); err != nil {
		return err
	}
	if l.wakeFD, err = fd.NewBell(); err != nil {
		return err
	}
	return l.poller.Add(&l.wakeFD, unix.EPOLLIN|unix.EPOLLET, wakeIndex, 0)
}

// close releases the descriptors. Functions that are posted later are dropped.
func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wakeFD.Close()
	l.poller.Close()
}

// post has the loop goroutine run a function. Any goroutine may call it.
func (l *loop) post(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.mailbox = append(l.mailbox, do)
	if !l.woken {
		l.woken = true
		l.wakeFD.Ring()
		l.endCoalescing()
	}
}

// runMessages runs the posted functions.
func (l *loop) runMessages() {
	l.wakeFD.Silence()
	l.mu.Lock()
	l.woken = false
	l.messages, l.mailbox = l.mailbox, l.messages[:0]
	l.mu.Unlock()
	for i, do := range l.messages {
		l.messages[i] = nil
		do()
	}
}

// run serves until stopped.
func (l *loop) run() {
	l.coalesceTimer = time.NewTimer(l.gather)
	defer l.coalesceTimer.Stop()
	if l.gather == 0 {
		// Keeps the thread, and with it the core and its caches.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	events := make([]fd.Event, maxEvents)
	rested := false
	for !l.stopped {
		n := l.wait(events, !rested && len(l.deferred) == 0)
		l.now = clock.Now()
		for i := range events[:n] {
			l.handleEvent(&events[i])
		}
		l.runDeferred()
		rested = l.gather > 0 && n > 0 && l.coalesce()
	}
	l.close()
}

// wait waits without a timeout: with one, the kernel would set a timer for each wait.
func (l *loop) wait(events []fd.Event, block bool) int {
	if !block {
		return l.poller.Look(events)
	}
	const forever = -1
	return l.poller.Wait(events, forever)
}

// coalesce sleeps to let more work arrive if there is much of it. It sleeps on a Go timer: while a thread
// sleeps in a system call the scheduler polls it, which costs more than the sleep.
func (l *loop) coalesce() bool {
	busy := l.now.Sub(l.lastIteration) < 2*l.gather
	if l.lastIteration = l.now; !busy || l.stopped || len(l.deferred) > 0 {
		return false
	}
	l.coalescing.Store(true)
	defer l.coalescing.Store(false)
	if l.group.urgentVerdicts.Load() > 0 || l.isWoken() {
		return false
	}
	l.coalesceTimer.Reset(l.gather)
	select {
	case <-l.coalesceTimer.C:
	case <-l.coalesceEnd:
	}
	return true
}

func (l *loop) isWoken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.woken
}

// endCoalescing ends the sleep of coalesce. Any goroutine may call it.
func (l *loop) endCoalescing() {
	if !l.coalescing.Load() {
		return
	}
	select {
	case l.coalesceEnd <- struct{}{}:
	default: // it is ending already
	}
}

func (l *loop) handleEvent(ev *fd.Event) {
	if ev.Fd == wakeIndex {
		l.runMessages()
		return
	}
	at := &l.registrations[ev.Fd]
	if at.conn == nil || at.generation != ev.Pad {
		return
	}
	s := at.conn
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.readable = true
	}
	s.hup = s.hup || ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if ev.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.becameWritable(l.now)
		s.stopAwaitingWritable()
	}
	s.readOnce()
}

// runDeferred serves connections that have more to read after their share of the iteration.
func (l *loop) runDeferred() {
	l.deferred, l.running = l.running[:0], l.deferred
	for i, s := range l.running {
		l.running[i] = nil
		if s.deferred = false; s.registered {
			s.readOnce()
		}
	}
}

// checkQuiet pings idle peers and disconnects those that do not answer. A peer that does not read our replies
// counts as idle: we have stopped reading from it.
func (l *loop) checkQuiet() {
	l.now = clock.Now()
	for i := range l.registrations {
		at := &l.registrations[i]
		if quiet := l.now.Sub(at.lastReceived); at.conn != nil && quiet > l.group.limits.quiet {
			at.conn.checkIdle(quiet)
		}
	}
}
