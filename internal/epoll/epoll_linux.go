package epoll

import (
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

	// robbed is when a look took too long for there to have been nobody else, who is
	// expected to be there for shyFor.
	robbed = 100 * time.Microsecond
	shyFor = time.Second

	// turn is less than the 10 ms after which the runtime takes a goroutine for one that
	// will not let go; see rest.
	turn = 8 * time.Millisecond
	// fewWaits in that time are too few to be worth a rest.
	fewWaits = 8
)

// Waiter waits for events on behalf of one goroutine. The zero Waiter is ready.
type Waiter struct {
	// Eager has it look for events before it sleeps, for a while, where peers answer within
	// microseconds: to sleep takes a thread longer than the answer then. It is not for who
	// shares a processor with those peers.
	Eager bool

	shorts int             // short waits in succession
	shy    balance.Instant // until when it does not look
	waits  int             // since rested
	rested balance.Instant // when the scheduler last had its turn
}

// Look returns how many events there are, which it puts into events. It returns at once,
// and so the scheduler is not told. fd is an epoll's.
func Look(fd int, events []unix.EpollEvent) int {
	return count(syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
}

// Wait is Look that returns when there is an event, after timeout milliseconds (less than
// zero: whenever it may be), or at a signal, with none.
func (w *Waiter) Wait(fd int, events []unix.EpollEvent, timeout int) int {
	began := clock.Now()
	if w.Eager && w.shorts >= manyShort && began >= w.shy {
		if n := w.gazed(fd, events, began); n > 0 {
			return n
		}
		w.shorts = 0
	}
	if w.tires(began) {
		rest()
	}
	n := sleep(fd, events, timeout)
	w.woke(clock.Now().Sub(began))
	return n
}

func sleep(fd int, events []unix.EpollEvent, timeout int) int {
	return count(syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeout), 0, 0))
}

// gazed looks for an event for a while. If somebody else had the processor meanwhile, it is
// not ours alone: who looks all the time is no longer one who sleeps much, whom the system
// lets go first, and others then have it for milliseconds when it is needed.
func (w *Waiter) gazed(fd int, events []unix.EpollEvent, began balance.Instant) int {
	for last := began; ; {
		n := Look(fd, events)
		now := clock.Now()
		if now.Sub(last) >= robbed {
			w.shy = now.Add(shyFor)
		}
		if n > 0 || now.Sub(began) >= gaze {
			return n
		}
		last = now
	}
}

// woke takes note of how long a wait took.
func (w *Waiter) woke(took time.Duration) {
	if took >= short {
		w.shorts = 0
		return
	}
	w.shorts++
}

// tires tells whether it is time to rest.
func (w *Waiter) tires(now balance.Instant) bool {
	if w.waits++; w.waits <= fewWaits || now.Sub(w.rested) < turn {
		return false
	}
	w.waits, w.rested = 0, now
	return true
}

// rest gives the scheduler its turn. A goroutine that is not scheduled anew for 10 ms is
// taken for one that computes without end, though it slept in the system a thousand times:
// from then on its processor is taken away at each call in which it is found, and a thread
// of the runtime's looks for that every 20 µs. With many short sleeps that cost a twentieth
// of what the loop itself did.
func rest() { runtime.Gosched() }

func count(n, _ uintptr, errno syscall.Errno) int {
	if errno != 0 {
		return 0 // a signal
	}
	return int(n)
}
