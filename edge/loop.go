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
	books
	engine *loops
	poller fd.Poller
	bell   end // by which others wake it
	wheel  wheel

	slots  []slot
	vacant []int32
	again  []*end // go on before the next wait
	spare  []*end
	backs  idleBacks
	tasks  []*task
	tidy   tidy
	pipes  pipes
	askers []*asking

	questions []*question
	wires     []*wire

	calls     *fd.Batch
	readers   []*end  // that are being read early
	earlies   []early // of the events that are being dealt with
	earlyRoom []byte

	sayings []saying // wait for the end of the turn
	said    []byte   // what they say

	crowded bool // several events came at once, or letters
	crowd   int  // how many are not yet several

	shared []byte // room for a head, then what is read at once; good until the next read
	out    []byte // a head on its way; good until the next one
	sealed []byte // likewise, what is on its way by TLS

	// Of HTTP/2.
	frames     []byte    // room for what is read of a trunk; good until the next read
	frameRooms [][]byte  // for what trunks say in a turn
	speakers   []*tongue // that have something to say at the end of the turn
	branches   []*branch // for the next streams
	stems      map[target]*stemList
	shoots     []*shoot           // for the next streams to servers
	copyRooms  [][]byte           // for large copies of requests' bodies
	bodyRooms  [2][][]byte        // for bodies that are read before a server is asked for: small rooms, large rooms
	bodiesWait []*inbound         // whose bodies wait unread for memory
	answer     http1.ResponseHead // that is being translated
	trailers   http1.Trailers     // likewise

	connects atomic.Int64 // client connections, those on their way to it included

	mu      sync.Mutex
	letters []letter
	asleep  bool // it must be woken for them
	over    bool // no letter is read any more

	opened  []letter // those that are being read
	stopped bool
}

// slot is where a descriptor stands. An event carries slot and generation, so that one
// for a descriptor that was closed in the same turn reaches nobody.
type slot struct {
	end        *end
	generation int32
}

// end is a descriptor that a loop watches, and what is known of it. Readiness is told
// once, at its edge, and remembered until a call shows the opposite.
type end struct {
	loop     *loop
	owner    interface{ ready() }
	fd       fd.FD // of a stream: closed
	stream   bool  // it is one that has not been closed
	slot     int32
	readable bool
	writable bool
	hup      bool   // the peer has closed its side; there may be something left to read
	reset    bool   // nothing can be written any more
	queued   bool   // in loop.again
	server   bool   // the peer is one
	brief    bool   // what came last was
	prompt   bool   // nothing that is said waits for the end of the turn
	accepted int64  // bytes that the socket has taken, so that the peer may have them
	saying   int32  // what waits for it, as its index in loop.sayings and one; zero: nothing
	early    *early // what has been read of it already; nil: nothing
	remains  *remains
	sealed   *sealed // TLS is spoken; nil: bytes are what they are
	branch   *branch // it is a stream's, and has no descriptor; nil: it has one
	shoot    *shoot  // likewise, of a server's
}

// letter is what somebody else asks of a loop.
type letter struct {
	do    func() // nil: the answer to an ask
	asker waiter
	of    *question // that it answers; nil: by asked
	by    *asking
	grant balance.Grant
	err   error
}

const (
	loopRoom  = 64 << 10 // what is read at once
	mostReady = 256      // events in one turn
	mostTasks = 256      // kept for the next request
	mostOut   = 64 << 10 // a larger head's room is not kept
)

func newLoop(e *loops) (*loop, error) {
	l := &loop{engine: e, shared: make([]byte, headRoom+loopRoom), out: make([]byte, 0, 4<<10),
		calls: new(fd.Batch), readers: make([]*end, 0, mostEarly), earlies: make([]early, 0, mostEarly), earlyRoom: make([]byte, mostEarly*earlyStride)}
	l.backs, l.stems = newIdleBacks(), make(map[target]*stemList)
	l.poller.Eager = true
	if !e.edge.cfg.crowded {
		l.crowd = 1
	}
	l.tidy.loop, l.tidy.owner = l, &l.tidy
	if err := l.open(); err != nil {
		l.poller.Close()
		return nil, err
	}
	return l, nil
}

// open makes what it waits by.
func (l *loop) open() error {
	if err := l.poller.Open(); err != nil {
		return err
	}
	b, err := fd.NewBell()
	if err != nil {
		return err
	}
	l.bell.owner = l
	return l.watch(&l.bell, &b, fd.Readable|fd.EdgeTriggered)
}

// readiness is what connections are watched for, once and for all.
const readiness = fd.Readable | fd.Writable | fd.PeerClosed | fd.EdgeTriggered

// watch moves a descriptor into e and has the loop tell e.owner of its readiness. With an
// error the descriptor is closed.
func (l *loop) watch(e *end, descriptor *fd.FD, events uint32) error {
	e.loop, e.fd = l, descriptor.Move()
	if n := len(l.vacant); n > 0 {
		e.slot, l.vacant = l.vacant[n-1], l.vacant[:n-1]
	} else {
		e.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[e.slot]
	s.end = e
	err := l.poller.Add(&e.fd, events, e.slot, s.generation)
	if err != nil {
		l.leave(e)
		e.fd.Close()
	}
	return err
}

// leave frees the slot, so that what is still reported of the descriptor is ignored.
func (l *loop) leave(e *end) {
	s := &l.slots[e.slot]
	s.end = nil
	s.generation++
	l.vacant = append(l.vacant, e.slot)
}

// isOpen reports whether it is watched, or a stream that goes on.
func (e *end) isOpen() bool { return e.stream || e.fd.IsOpen() }

// close closes the descriptor, which also ends its watch: there is no copy.
func (e *end) close() {
	if !e.isOpen() {
		return
	}
	switch {
	case e.branch != nil:
		e.branch.shut()
		return
	case e.shoot != nil:
		e.shoot.shut()
		return
	}
	e.hasten()
	e.early = nil
	e.loop.leave(e)
	e.fd.Close() // all that was to be said has been
}

// leaveLoop ends the watch, but does not close the descriptor, which it returns. What waits
// for the end of the turn goes before.
func (e *end) leaveLoop() fd.FD {
	e.hasten()
	e.early = nil // the caller has taken it

	_ = e.loop.poller.Remove(&e.fd) // closing a copy would not do
	e.loop.leave(e)
	return e.fd.Move()
}

// post puts a letter into the loop's box, which it empties before it next sleeps; false:
// the loop has ended.
func (l *loop) post(m letter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.letters = append(l.letters, m)
	if l.asleep {
		l.asleep = false
		l.bell.fd.Ring()
	}
	return true
}

// ready implements the bell's owner. The letters are read later in the turn.
func (l *loop) ready() {
	l.bell.fd.Silence()
	l.bell.readable = false
}

// readLetters does what others ask for.
func (l *loop) readLetters() {
	l.mu.Lock()
	l.opened, l.letters = l.letters, l.opened[:0]
	l.mu.Unlock()
	l.crowded = l.crowded || len(l.opened) > l.crowd
	for i := range l.opened {
		if m := &l.opened[i]; m.do != nil {
			m.do()
		} else {
			l.hear(m)
		}
		l.opened[i] = letter{}
	}
}

// lieDown says that the loop is about to sleep, unless there is a letter to read.
func (l *loop) lieDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = len(l.letters) == 0
	return l.asleep
}

func (l *loop) getUp() {
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
	l.calls = l.engine.batch()
	l.now = clock.Now()
	l.wheel.begin(l.now)
	events := make([]fd.Event, mostReady)
	for !l.stopped {
		l.deal(events[:l.wait(events)])
		l.now = clock.Now()
		l.wheel.turn(l.now)
		l.goOn()
		l.readLetters()
		l.speak()
		if d := l.engine.edge.driven; d != nil {
			d.Flush(l.now, l.busy())
		}
		l.sayAll()
	}
	l.end()
}

// wait returns how many events there are, and sleeps until there are some if nothing
// else is to be done. Where several came at once there are more by now: then it looks
// before it sleeps.
func (l *loop) wait(events []fd.Event) (n int) {
	if l.busy() || !l.lieDown() {
		n = l.poller.Look(events)
	} else {
		n = l.poller.Wait(events, l.patience())
		l.getUp()
	}
	l.crowded = n > l.crowd
	return n
}

// busy reports whether it will look for events before it may sleep.
func (l *loop) busy() bool { return l.crowded || len(l.again) > 0 }

// patience is for how many milliseconds it may sleep, less than zero without a limit.
func (l *loop) patience() int {
	wait := l.wheel.wait(l.now)
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

// endOf returns the descriptor that an event is of; nil: it was closed in the same turn.
func (l *loop) endOf(ev *fd.Event) *end {
	if s := &l.slots[ev.Slot()]; s.generation == ev.Generation() {
		return s.end
	}
	return nil
}

// dispatch has the owners of events go on, of those that are servers' or of the others.
func (l *loop) dispatch(events []fd.Event, servers bool) {
	for i := range events {
		if e := l.endOf(&events[i]); e != nil && e.server == servers {
			l.now = clock.Now()
			e.hear(events[i].Events)
		}
	}
}

// hear has the owner go on with what an event tells.
func (e *end) hear(events uint32) {
	if events&(fd.Readable|fd.PeerClosed|fd.HungUp|fd.Failed) != 0 {
		e.readable = true
	}
	if events&(fd.Writable|fd.HungUp|fd.Failed) != 0 {
		e.writable = true
	}
	e.hup = e.hup || events&(fd.PeerClosed|fd.HungUp|fd.Failed) != 0
	e.reset = e.reset || events&(fd.HungUp|fd.Failed) != 0
	if e.remains != nil && e.writable {
		e.sayRest()
	}
	e.owner.ready()
	if e.early != nil {
		e.keepEarly()
	}
}

// goOn lets those go on who have had their share of the turn and have more to do.
func (l *loop) goOn() {
	l.again, l.spare = l.spare[:0], l.again
	for i, e := range l.spare {
		l.spare[i] = nil
		e.queued = false
		if e.isOpen() {
			e.owner.ready()
		}
	}
}

// soon lets the owner of e go on when everybody else has had a turn.
func (l *loop) soon(e *end) {
	if !e.queued {
		e.queued = true
		l.again = append(l.again, e)
	}
}

// end closes what the loop has kept. No client is left.
func (l *loop) end() {
	l.mu.Lock()
	l.over = true
	left := l.letters
	l.letters = nil
	l.mu.Unlock()
	for i := range left {
		if left[i].do != nil {
			left[i].do() // somebody waits for it
		}
	}
	l.backs.close()
	l.fell()
	for _, a := range l.askers {
		close(a.next)
	}
	for _, w := range l.wires {
		w.close()
	}
	l.calls.Close()
	l.pipes.close()
	l.bell.close()
	l.poller.Close()
}

// read reads what has come, into p. It returns EAGAIN if there is nothing, 0 and no
// error at the end.
func (e *end) read(p []byte) (int, error) {
	switch {
	case e.sealed != nil:
		return e.sealed.read(p)
	case e.branch != nil:
		return e.branch.read(p)
	case e.shoot != nil:
		return e.shoot.read(p)
	case e.early != nil:
		return e.takeEarly(p)
	}
	n, err := e.fd.Receive(p)
	if n > 0 {
		e.brief = n < briefMost
	}
	// A short read has emptied the socket: what comes later is another edge. Only the
	// peer's end may have been told already.
	if err == syscall.EAGAIN || err == nil && n < len(p) && !e.hup {
		e.readable = false
	}
	return n, err
}

// write says p, and returns how much of it goes: at once, or at the end of the turn.
func (e *end) write(p []byte) (n int, err error) {
	switch {
	case e.branch != nil:
		n = e.branch.write(p)
		e.writable = n == len(p)
		return n, nil
	case e.shoot != nil:
		n = e.shoot.write(p)
		e.writable = n == len(p)
		return n, nil
	case e.later(p):
		return len(p), nil
	}
	if e.hasten(); e.remains != nil {
		return 0, e.remains.failed
	}
	return e.push(p)
}

// push writes what goes.
func (e *end) push(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := e.fd.Send(p[n:])
		if err == syscall.EAGAIN {
			e.writable = false
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += m
		e.accepted += int64(m)
	}
	return n, nil
}

// bare reports whether what goes over the wire is what is said, so that bytes can move
// unseen.
func (e *end) bare() bool {
	return fd.CanSplice && e.sealed == nil && e.branch == nil && e.shoot == nil
}

// takeTask returns room for a request.
func (l *loop) takeTask() *task {
	if n := len(l.tasks); n > 0 {
		t := l.tasks[n-1]
		l.tasks = l.tasks[:n-1]
		return t
	}
	t := new(task)
	t.exchange.books = &l.books
	return t
}

// putTask takes it back.
func (l *loop) putTask(t *task) {
	if len(l.tasks) == mostTasks {
		l.wheel.drop(&t.lookout.timer)
		l.tidy.spill()
		return
	}
	t.forget()
	l.tasks = append(l.tasks, t)
}
