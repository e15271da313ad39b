package sample

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/station"
)

// engine drives the model by the real clock. A caller that adds or removes a request
// tells the model so at once; run sleeps until the next one is done.
type engine struct {
	began   time.Time
	slots   float64
	window  time.Duration
	napping time.Duration // how much of a wait is slept in the kernel
	wake    chan struct{} // holds one when the model has changed
	changed func()        // told after every change; set before use, must not block

	mu       sync.Mutex
	model    *station.Station
	jobs     uint64
	waiting  map[uint64]chan struct{} // closed when the job is done
	endless  []uint64                 // jobs that occupy slots
	marks    []mark                   // of the last window, oldest first; the first may be older
	rate     float64                  // answers a second, decaying over rateMemory
	rated    balance.Instant
	answered uint64
}

// mark is the model's busy slot-seconds at one time. One is made at every change, so
// between two they grow evenly.
type mark struct {
	at   balance.Instant
	busy float64
}

const (
	window     = 100 * time.Millisecond // window, unless another is asked for
	finest     = time.Millisecond       // between marks, so that they are few however much happens
	rateMemory = time.Second
	longestNap = 1500 * time.Microsecond // more than a timer is late
)

func newEngine(cfg Config) *engine {
	slots, speed := cmp.Or(cfg.Slots, 1), cmp.Or(cfg.Speed, 1)
	model := station.NewPS(slots, speed)
	if cfg.Model == FCFS {
		model = station.NewFCFS(slots, speed)
	}
	e := &engine{
		began:   time.Now(),
		slots:   float64(slots),
		window:  cmp.Or(cfg.Window, window),
		wake:    make(chan struct{}, 1),
		changed: func() {},
		model:   model,
		waiting: make(map[uint64]chan struct{}),
	}
	if cfg.Exact {
		e.napping = longestNap
	}
	return e
}

// now is the model's time. It is taken with the mutex held, so that it never falls.
func (e *engine) now() balance.Instant { return balance.Instant(time.Since(e.began)) }

// run finishes jobs when their time has come, until ctx ends.
func (e *engine) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-timer.C:
		}
		left, ok := e.finish()
		for ; ok && left <= e.napping; left, ok = e.finish() {
			clock.SleepPrecise(left) // a request that comes meanwhile and ends sooner waits for it
		}
		if ok {
			timer.Reset(left - e.napping)
		} else {
			timer.Stop()
		}
	}
}

// finish lets go those that are done and returns the time to the next; ok is false if
// there is none.
func (e *engine) finish() (left time.Duration, ok bool) {
	e.mu.Lock()
	now := e.now()
	any := e.release(now)
	if any {
		e.mark(now)
	}
	at, ok := e.model.Next()
	e.mu.Unlock()
	if any {
		e.changed()
	}
	return at.Sub(now), ok
}

// release lets go those that are done; it returns whether there were any.
func (e *engine) release(now balance.Instant) (any bool) {
	for {
		job, ok := e.model.Finish(now)
		if !ok {
			return any
		}
		any = true
		e.answer(now)
		if done := e.waiting[job]; done != nil {
			close(done)
			delete(e.waiting, job)
		}
	}
}

// answer counts one answer.
func (e *engine) answer(now balance.Instant) {
	e.answered++
	e.rate = e.rateAt(now) + 1/rateMemory.Seconds()
	e.rated = now
}

func (e *engine) rateAt(now balance.Instant) float64 {
	return e.rate * math.Exp(-now.Sub(e.rated).Seconds()/rateMemory.Seconds())
}

// work returns when the model has done that much work for this request: true, or
// false when ctx has ended before.
func (e *engine) work(ctx context.Context, seconds float64) bool {
	job, done := e.arrive(seconds)
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	e.mu.Lock()
	if _, there := e.waiting[job]; there {
		e.model.Abort(e.now(), job)
		delete(e.waiting, job)
		e.mark(e.now())
	}
	e.mu.Unlock()
	e.stir()
	return false
}

func (e *engine) arrive(seconds float64) (job uint64, done <-chan struct{}) {
	ch := make(chan struct{})
	e.mu.Lock()
	now := e.now()
	job = e.add(now, seconds)
	e.waiting[job] = ch
	e.release(now) // one without work is done at once, and run need not wake for it
	_, there := e.waiting[job]
	e.mark(now)
	e.mu.Unlock()
	if there {
		e.stir()
	} else {
		e.changed()
	}
	return job, ch
}

func (e *engine) add(now balance.Instant, seconds float64) (job uint64) {
	e.jobs++
	e.model.Arrive(now, e.jobs, seconds)
	return e.jobs
}

// occupy makes n the number of requests without end.
func (e *engine) occupy(n int) {
	e.mu.Lock()
	for len(e.endless) < n {
		e.endless = append(e.endless, e.add(e.now(), math.Inf(1)))
	}
	for len(e.endless) > n {
		last := len(e.endless) - 1
		e.model.Abort(e.now(), e.endless[last])
		e.endless = e.endless[:last]
	}
	e.mark(e.now())
	e.mu.Unlock()
	e.stir()
}

// stir makes run look at the model again.
func (e *engine) stir() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
	e.changed()
}

// mark notes how busy the slots have been, and forgets what the window has left behind.
func (e *engine) mark(now balance.Instant) {
	m := mark{now, e.model.Busy(now)}
	if n := len(e.marks); n > 1 && now.Sub(e.marks[n-2].at) < finest {
		e.marks[n-1] = m
	} else {
		e.marks = append(e.marks, m)
	}
	old := 0
	for old+1 < len(e.marks) && now.Sub(e.marks[old+1].at) >= e.window {
		old++
	}
	e.marks = append(e.marks[:0], e.marks[old:]...)
}

// load returns the load now.
func (e *engine) load() figures {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	e.mark(now)
	return figures{inFlight: e.model.InFlight(), busy: e.share(now), rate: e.rateAt(now), answered: e.answered}
}

// share returns the busy share of the slots over the window before now.
func (e *engine) share(now balance.Instant) float64 {
	first, last := e.marks[0], e.marks[len(e.marks)-1]
	from := now.Add(-e.window)
	if len(e.marks) > 1 && first.at < from {
		next := e.marks[1]
		first.busy += (next.busy - first.busy) * float64(from-first.at) / float64(next.at-first.at)
		first.at = from
	}
	if last.at == first.at {
		return 0
	}
	return max(0, (last.busy-first.busy)/last.at.Sub(first.at).Seconds()/e.slots)
}
