//go:build !evenkeel_portable

package fd

import (
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

const (
	// short is a wait that was not worth a sleep: falling asleep and being woken are half
	// of it.
	short = 30 * time.Microsecond
	// gaze is for how long the next event is looked for where waits have been short.
	gaze = 20 * time.Microsecond
	// manyShort short waits in succession say that the next will be. Where events come by
	// chance, 20,000 a second, one wait in ten thousand is preceded by as many.
	manyShort = 8

	// robbed is the duration of a look above which another thread must have had the processor. That thread is expected to need it for
	// shyFor.
	robbed = 100 * time.Microsecond
	shyFor = time.Second

	// turn is less than the 10 ms after which the runtime takes a goroutine for one that
	// will not let go; see rest.
	turn = 8 * time.Millisecond
	// fewWaits in that time are too few to be worth a rest.
	fewWaits = 8
)

// Poller is an epoll set, and waits for its events on behalf of one goroutine: by a look
// without sleep, or a sleep of which Go's scheduler is told no more often than it must be,
// whichever is likely to make the next event the cheapest. Add, Modify and Remove are for
// any goroutine.
//
// What is registered is told of by a slot and a generation, which the owner of the Poller
// chooses: an event that was on its way when its descriptor was closed carries the old
// generation. Closing a descriptor ends its watch if no copy of it is left; where there is
// one, Remove does.
type Poller struct {
	set FD

	// Eager has it look for events before it sleeps, for a while, where peers answer within
	// microseconds: to sleep takes a thread longer than the answer then. It is not for a loop
	// that shares a processor with those peers.
	Eager bool

	shorts int             // short waits in succession
	shy    balance.Instant // until when it does not look
	waits  int             // since rested
	rested balance.Instant // when the scheduler last had its turn
}

// Open makes the set.
func (p *Poller) Open() error {
	n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	p.set = FD{above: n + 1}
	return nil
}

// Close closes the set. Nothing is told from then on.
func (p *Poller) Close() { p.set.Close() }

// Add has the set tell of a descriptor's events.
func (p *Poller) Add(f *FD, events uint32, slot, generation int32) error {
	return p.control(unix.EPOLL_CTL_ADD, f, events, slot, generation)
}

// Modify changes what it tells of.
func (p *Poller) Modify(f *FD, events uint32, slot, generation int32) error {
	return p.control(unix.EPOLL_CTL_MOD, f, events, slot, generation)
}

// Remove has it tell of nothing more.
func (p *Poller) Remove(f *FD) error { return p.control(unix.EPOLL_CTL_DEL, f, 0, 0, 0) }

func (p *Poller) control(what int, f *FD, events uint32, slot, generation int32) error {
	if !p.set.IsOpen() || !f.IsOpen() {
		return ErrClosed
	}
	event := unix.EpollEvent{Events: events, Fd: slot, Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.set.number(), what, f.number(), &event))
}

// Look returns how many events there are, which it puts into events. It returns at once,
// and so the scheduler is not told.
func (p *Poller) Look(events []Event) int {
	return count(syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.set.number()), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
}

// Wait is Look that returns when there is an event, after timeout milliseconds (less than
// zero: without a limit), or at a signal, with none.
func (p *Poller) Wait(events []Event, timeout int) int {
	began := clock.Now()
	if p.Eager && p.shorts >= manyShort && began >= p.shy {
		if n := p.gazed(events, began); n > 0 {
			return n
		}
		p.shorts = 0
	}
	if p.tires(began) {
		rest()
	}
	n := p.sleep(events, timeout)
	p.woke(clock.Now().Sub(began))
	return n
}

func (p *Poller) sleep(events []Event, timeout int) int {
	return count(syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.set.number()), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeout), 0, 0))
}

// gazed polls for an event for a short time, without sleeping. It stops if another thread had the processor meanwhile. A thread that polls
// all the time loses the scheduler's preference for threads that sleep often, and others would then keep the processor for milliseconds
// when it is needed.
func (p *Poller) gazed(events []Event, began balance.Instant) int {
	for last := began; ; {
		n := p.Look(events)
		now := clock.Now()
		if now.Sub(last) >= robbed {
			p.shy = now.Add(shyFor)
		}
		if n > 0 || now.Sub(began) >= gaze {
			return n
		}
		last = now
	}
}

// woke takes note of how long a wait took.
func (p *Poller) woke(took time.Duration) {
	if took >= short {
		p.shorts = 0
		return
	}
	p.shorts++
}

// tires reports whether it is time to rest.
func (p *Poller) tires(now balance.Instant) bool {
	if p.waits++; p.waits <= fewWaits || now.Sub(p.rested) < turn {
		return false
	}
	p.waits, p.rested = 0, now
	return true
}

// rest yields to Go's scheduler. The scheduler treats a goroutine that it has not scheduled again for 10 ms as one that computes without
// end, even if it slept in the system a thousand times: from then on it takes the processor away at each system call, and a thread of the
// runtime checks for that every 20 µs. With many short sleeps that cost a twentieth of what the loop itself did.
func rest() { runtime.Gosched() }

func count(n, _ uintptr, errno syscall.Errno) int {
	if errno != 0 {
		return 0 // a signal
	}
	return int(n)
}
