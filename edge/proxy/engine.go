package proxy

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Engine moves bytes between clients and servers: one loop for each core. A connection stays with its
// loop, and so do the connections to servers that this loop has made.
type Engine struct {
	cfg         Config
	deps        *exchange.Deps
	immediate   immediatePicker // nil: the picker is none
	polled      polledPicker    // nil: the picker is none
	background  sync.WaitGroup  // goroutines that wait for a master or a name
	dialer      upstream.Dialer
	lastFullLog atomic.Int64 // when refused accepts were logged last; zero: never
	noURing     sync.Once    // logs that io_uring is not available

	mu      sync.Mutex
	serving int // listeners
	all     []*worker
	running sync.WaitGroup

	drain
}

// New returns an engine for these listeners, of which Serve serves one. It also uses the optional methods of the
// picker in deps: TryPick, and those of client.Masters by which a loop polls its connections.
func New(cfg Config, deps *exchange.Deps, listeners []*routing.BoundListener) *Engine {
	setServerTLS(listeners)
	e := &Engine{cfg: cfg, deps: deps, dialer: upstream.Dialer{Net: cfg.Net, Timeout: cfg.ConnectTimeout, TCP: cfg.TCP, Inside: cfg.Inside, Log: deps.Log,
		H2: h2conn.ClientConfig{ConnectTimeout: cfg.ConnectTimeout, IdleTimeout: routing.DefaultIdleTimeout}}}
	e.immediate, _ = deps.Picker.(immediatePicker)
	e.polled, _ = deps.Picker.(polledPicker)
	e.drain.init(cfg.DrainTime)
	return e
}

// newBatch returns the batch of a loop's system calls. It is called on the loop's thread.
func (e *Engine) newBatch() *fd.Batch {
	if e.cfg.SingleCalls {
		return new(fd.Batch)
	}
	b, err := fd.NewBatch()
	if err != nil {
		e.noURing.Do(func() {
			e.deps.Log.Info("io_uring is not available, so requests cost more processor time", "err", err, "cure", uringRemedy(err))
		})
	}
	return b
}

// uringRemedy returns what to do about the error of fd.NewBatch.
func uringRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "raise this process's limit of open files: ulimit -n, or LimitNOFILE= of its systemd unit"
	case errors.Is(err, syscall.ENFILE):
		return "raise the system's limit of open files: sysctl fs.file-max"
	case errors.Is(err, syscall.ENOMEM):
		return "raise this process's limit of locked memory (ulimit -l, LimitMEMLOCK=), or of its control group's memory"
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL):
		return "Linux 6.1 or newer has what is needed of it; set single_calls to silence this message"
	}
	return "allow it in this container (seccomp) or system (sysctl kernel.io_uring_disabled), or set single_calls to silence this message"
}

// startFirst starts the loops for the first listener.
func (e *Engine) startFirst() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving++; e.serving > 1 {
		return nil
	}
	e.all = nil
	for range e.cfg.Loops {
		l, err := newWorker(e)
		if err != nil {
			e.serving--
			e.stopLoops()
			return err
		}
		l.Pools = make([]exchange.PoolStats, len(e.deps.Pools))
		e.all = append(e.all, l)
		e.running.Go(l.Run)
	}
	if e.polled != nil {
		e.polled.Poll(e.all[0])
	}
	// A loop keeps its processor while it works; the rest of the program needs one too.
	if want := len(e.all) + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return nil
}

// stopLast stops the loops after the last listener.
func (e *Engine) stopLast() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving--; e.serving == 0 {
		e.stopLoops()
	}
}

func (e *Engine) stopLoops() {
	if e.polled != nil && len(e.all) > 0 {
		e.polled.Unpoll(e.all[0])
	}
	for _, l := range e.all {
		l.Call(l.Stop)
	}
	e.running.Wait()
	if e.polled != nil {
		e.polled.Flush(clock.Now(), false) // what the last iterations have returned
	}
	e.background.Wait()
	e.dialer.Background.Wait()
	for _, l := range e.all {
		e.deps.MergeStats(&l.LoopStats)
	}
	e.all = nil
}

// VisitStats calls do with the stats of one loop after another. It waits for the loops, so a loop goroutine
// must not call it.
func (e *Engine) VisitStats(do func(*exchange.LoopStats)) {
	e.EachLoop(func(_ *eventloop.Loop, stats *exchange.LoopStats) { do(stats) })
}

// EachLoop calls do with one loop after another, on their goroutines. It waits for the loops, so a loop goroutine
// must not call it.
func (e *Engine) EachLoop(do func(*eventloop.Loop, *exchange.LoopStats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.all { // no loop ends while mu is held
		done := make(chan struct{})
		l.Call(func() { do(&l.Loop, &l.LoopStats); close(done) })
		<-done
	}
}
