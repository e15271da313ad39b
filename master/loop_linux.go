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

// loop reads and answers many peers on one thread: it waits for any of them, handles
// what has come, and waits again. All it has is its own; whoever else wants something of
// it posts a letter.
type loop struct {
	loops  *loops
	gather time.Duration // for which work may wait for more; zero: none may
	poller fd.Poller
	bell   fd.FD // by which others wake it
	now    balance.Instant
	turned balance.Instant // when the last turn began

	places []place
	vacant []int32
	again  []*seat // go on before the next wait
	spare  []*seat
	shared []byte // what is read at once; good until the next read
	desk   desk   // what is decoded; good until the next frame

	taken   atomic.Int64 // connections, those on their way to it included
	napping atomic.Bool
	hurried chan struct{}
	timer   *time.Timer // of naps

	mu      sync.Mutex
	letters []func()
	rung    bool // the bell has been rung for them
	over    bool // no letter is read any more

	opened  []func() // those that are being read
	stopped bool
}

// place is where a connection is registered. An event carries index and generation, so
// that one for a connection that has left in the same turn reaches nobody. heard stands
// here too, so that a look at thousands does not fetch them all.
type place struct {
	seat       *seat
	heard      balance.Instant
	generation int32
}

const (
	mostReady = 256                  // events in one turn
	gathered  = 8 * time.Millisecond // what agents' loops take together

	// readAtOnce is a few hundred asks. While they are answered, edges make the next; with
	// more of them at once both sides wait for each other in turns.
	readAtOnce = 8 << 10
	bellPlace  = -1
)

func newLoop(all *loops, gather time.Duration) (*loop, error) {
	l := &loop{loops: all, gather: gather, hurried: make(chan struct{}, 1), shared: make([]byte, readAtOnce)}
	if err := l.begin(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// begin makes what it waits by.
func (l *loop) begin() (err error) {
	if err := l.poller.Open(); err != nil {
		return err
	}
	if l.bell, err = fd.NewBell(); err != nil {
		return err
	}
	return l.poller.Add(&l.bell, unix.EPOLLIN|unix.EPOLLET, bellPlace, 0)
}

// close is the last that happens to it. Letters that come later are not read.
func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.bell.Close()
	l.poller.Close()
}

// post puts a letter into the loop's box.
func (l *loop) post(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.letters = append(l.letters, do)
	if !l.rung {
		l.rung = true
		l.bell.Ring()
		l.hurry()
	}
}

// open reads the letters.
func (l *loop) open() {
	l.bell.Silence()
	l.mu.Lock()
	l.rung = false
	l.opened, l.letters = l.letters, l.opened[:0]
	l.mu.Unlock()
	for i, do := range l.opened {
		l.opened[i] = nil
		do()
	}
}

// run serves until stopped.
func (l *loop) run() {
	l.timer = time.NewTimer(l.gather)
	defer l.timer.Stop()
	if l.gather == 0 {
		// So it keeps its thread, and so the thread its core and the core its caches.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	events := make([]fd.Event, mostReady)
	rested := false
	for !l.stopped {
		n := l.wait(events, !rested && len(l.again) == 0)
		l.now = clock.Now()
		for i := range events[:n] {
			l.dispatch(&events[i])
		}
		l.goOn()
		rested = l.gather > 0 && n > 0 && l.nap()
	}
	l.close()
}

// wait has no time limit: for one, the kernel would set a clock at each wait.
func (l *loop) wait(events []fd.Event, block bool) int {
	if !block {
		return l.poller.Look(events)
	}
	const forever = -1
	return l.poller.Wait(events, forever)
}

// nap lets work gather where there is much of it. It sleeps as any goroutine does: what
// waits in a call, the scheduler keeps an eye on, and that costs more than the sleep.
func (l *loop) nap() bool {
	busy := l.now.Sub(l.turned) < 2*l.gather
	if l.turned = l.now; !busy || l.stopped || len(l.again) > 0 {
		return false
	}
	l.napping.Store(true)
	defer l.napping.Store(false)
	if l.loops.urgent.Load() > 0 || l.isRung() {
		return false
	}
	l.timer.Reset(l.gather)
	select {
	case <-l.timer.C:
	case <-l.hurried:
	}
	return true
}

func (l *loop) isRung() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rung
}

// hurry ends a nap. Any goroutine may call it.
func (l *loop) hurry() {
	if !l.napping.Load() {
		return
	}
	select {
	case l.hurried <- struct{}{}:
	default: // it has ended already
	}
}

func (l *loop) dispatch(ev *fd.Event) {
	if ev.Fd == bellPlace {
		l.open()
		return
	}
	at := &l.places[ev.Fd]
	if at.seat == nil || at.generation != ev.Pad {
		return
	}
	s := at.seat
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.readable = true
	}
	s.hup = s.hup || ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if ev.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.emptied(l.now)
		s.ignoreRoom()
	}
	s.serve()
}

// goOn lets those go on who have had their share of the turn and have more to do.
func (l *loop) goOn() {
	l.again, l.spare = l.spare[:0], l.again
	for i, s := range l.spare {
		l.spare[i] = nil
		if s.queued = false; s.seated {
			s.serve()
		}
	}
}

// look pings those who are quiet, and parts from those who have left us waiting. Who does
// not read is quiet too, since nothing is read from him.
func (l *loop) look() {
	l.now = clock.Now()
	for i := range l.places {
		at := &l.places[i]
		if quiet := l.now.Sub(at.heard); at.seat != nil && quiet > l.loops.limits.quiet {
			at.seat.look(quiet)
		}
	}
}
