package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/memory"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// part is something that runs until its context ends.
type part struct {
	name   string
	run    func(context.Context) error
	shared bool // who has taken over takes its connections too, so then it is the first to stop
}

// process is a role at work.
type process struct {
	log      *slog.Logger
	serving  []any                   // attributes of the record that says so: role and addresses
	welcome  *welcome                // the same for people
	console                          // the person at the terminal
	trust    *trust.Keeper           // looks for new certificates on SIGHUP too; nil: there are none
	signer   *trust.Signer           // the same; nil: it signs no agents' certificates
	admin    *admin.Surface          // what it serves at its admin address, and at its socket whether it has that or not; nil: nothing
	access   *adminAccess            // who may use that; nil: there is none
	told     processTold             // what it says of itself on its socket
	file     string                  // that it was started with; empty: none
	ready    <-chan struct{}         // closed once it takes requests; nil: it does as soon as the parts run
	parts    []part                  // in the order in which they stop, each when the one before has ended
	draining func() int              // requests still open; nil: the role has none
	sockets  func() []heirloom       // to hand over to a new program; nil: the role cannot
	yield    func()                  // called when a new program has taken over, before the parts are stopped; nil: nothing to do
	legacy   func() any              // what else that is to know, for JSON; nil: nothing
	reload   func() (atStart, error) // reads the file anew, and returns what a reload does not take up; nil: there is no file
	atStart  atStart                 // the same when the process started
	reloads  *reloads                // what became of reload; nil: nothing shows it
}

// oneStop is how soon after a signal to stop another one is taken for the same: GNU timeout, and terminals whose
// foreground group is signalled, send it to the process and to its group.
const oneStop = 500 * time.Millisecond

// errSucceeded stops a process from which a new program has taken over.
var errSucceeded = errors.New("a new program has taken over")

// errHurried ends a process that was told twice to stop.
var errHurried = errors.New("told twice to stop")

// atOnce is closed.
var atOnce = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// settleAfter is when what starting took is given back: no longer needed, and nobody waits.
const settleAfter = time.Second

// serve runs all parts until ctx ends, a signal says stop, or a part fails; then it stops them in order. It logs that the process
// serves once that is so, and signals are heeded. A second signal makes it return at once.
func (p *process) serve(ctx context.Context) error {
	p.log = logs.Unlimited(p.log)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if takeoverSignal != nil {
		signal.Notify(signals, takeoverSignal)
	}
	defer signal.Stop(signals)
	hide := p.openSocket()
	defer hide()
	ended := make(chan error, 1)
	go func() { ended <- runParts(ctx, p.parts) }()
	ready := p.ready
	if ready == nil {
		ready = atOnce
	}
	manager := ourManager(os.Getenv, os.Getpid())
	watchdog, stopWatchdog := manager.watchdog()
	defer stopWatchdog()
	handing, stopHanding := handOverAside{done: make(chan handed, 1)}, func() {}
	defer func() {
		stopHanding()
		if handing.underWay {
			<-handing.done // the new program, if there is one, has ended
		}
	}()
	settled := time.After(settleAfter)
	signalled := stopping{p: p, manager: manager, stop: stop}
	for {
		select {
		case <-ready:
			ready = nil
			p.greet(ctx)
			manager.ready()
			p.closeUnwanted()
			if err := tellReady(); err != nil {
				p.log.Warn("the program before cannot be told that this one serves", "err", err)
			}
		case <-watchdog:
			manager.alive()
		case h := <-handing.done:
			handing.underWay = false
			if ctx.Err() == nil && p.handedOver(h) {
				p.access.signalled("hand over", "", nil)
				hide() // from now on the new program is the one to be found
				p.announceDrain()
				stop(errSucceeded)
			}
		case <-settled:
			if err := memory.Return(); err != nil {
				p.log.Debug("what starting took of memory stays", "err", err)
			}
		case err := <-ended:
			if err == nil {
				p.log.Info("stopped")
			}
			return err
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				if ctx.Err() == nil {
					manager.reloading()
					p.reloadOnce()
					manager.ready()
				}
			case s == takeoverSignal:
				if ctx.Err() == nil && !handing.underWay {
					stopHanding = handing.begin(ctx, p)
				}
			default:
				if err := signalled.again(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// stopping is what signals to stop have done to a process.
type stopping struct {
	p       *process
	manager manager
	stop    context.CancelCauseFunc
	since   balance.Instant // the first signal; zero: none has come
}

// again takes a signal to stop: the first has the process stop in order, a later one at once. ctx has ended if the process
// stops already.
func (s *stopping) again(ctx context.Context) error {
	switch {
	case ctx.Err() == nil:
		s.since = clock.Now()
		s.p.access.signalled("stop", "", nil)
		s.manager.stopping()
		s.p.announceDrain()
		s.stop(nil)
	case s.since == 0 || clock.Now().Sub(s.since) >= oneStop:
		return s.p.hurried()
	default:
		s.p.log.Info("another signal to stop has come at once, and is taken for the same")
	}
	return nil
}

// greet says that the role serves: in a record, or in words if a person is there.
func (p *process) greet(ctx context.Context) {
	if p.banner == nil || p.welcome == nil {
		p.log.Info("serving", p.serving...)
		return
	}
	go func() { p.banner(p.welcome.banner(ctx, p.paint)) }() // servers are asked whether they answer, which may take a moment
}

// handOverAside starts a new program while the process goes on and heeds signals: the program may hang.
type handOverAside struct {
	underWay bool
	done     chan handed // what became of it
}

// handed is what became of a handing over.
type handed struct {
	pid     int
	program string // its path
	version string // as it says
	err     error
}

// begin starts a new program; stop ends it unless it serves by then.
func (h *handOverAside) begin(ctx context.Context, p *process) (stop func()) {
	if p.sockets == nil {
		p.log.Warn("only an edge, alone or with its master, hands its sockets over to a new program: restart this role instead")
		return func() {}
	}
	h.underWay = true
	var known []byte
	var err error
	if p.legacy != nil {
		known, err = json.Marshal(p.legacy())
	}
	if err != nil {
		h.done <- handed{err: err}
		return func() {}
	}
	ctx, stop = context.WithCancel(ctx)
	sockets := p.sockets()
	go func() { h.done <- handOver(ctx, sockets, known) }()
	return stop
}

// handedOver takes what became of a handing over and reports whether the new program serves.
func (p *process) handedOver(h handed) bool {
	if h.err != nil {
		p.log.Error("no new program has taken over; this one goes on", "program", h.program, "err", h.err)
		return false
	}
	p.log.Info("a new program has taken over", "pid", h.pid, "program", h.program, "version", h.version)
	if p.yield != nil {
		p.yield()
	}
	return true
}

// closeUnwanted closes inherited sockets that no listener has taken: what comes to them would wait without end.
func (p *process) closeUnwanted() {
	for _, h := range unwanted() {
		p.log.Warn("no listener of this role wants a socket that the process was started with; it is closed", "socket", address(h.Listener))
		_ = h.Close() // nothing was taken from it
	}
}

func (p *process) announceDrain() {
	if p.draining == nil {
		return
	}
	n := p.draining()
	if n > 0 && p.tell != nil {
		p.tell(fmt.Sprintf("draining %d %s, again to stop now", n, plural(n, "request")))
		return
	}
	p.log.Info("draining", "requests", n)
}

func (p *process) hurried() error {
	if p.draining == nil {
		return errHurried
	}
	n := p.draining()
	return fmt.Errorf("%w: %d %s cut off", errHurried, n, plural(n, "request"))
}

func (p *process) reloadOnce() {
	p.access.reload()
	if p.trust != nil {
		if err := p.trust.Reload(); err != nil {
			p.log.Error("new certificate files are bad; the former certificate stays", "err", err)
		}
	}
	if p.signer != nil {
		if err := p.signer.Reload(); err != nil {
			p.log.Error("the new issuer's files are bad; the former issuer stays", "err", err)
		}
	}
	if p.reload == nil && (p.trust != nil || p.access != nil && p.access.keys != nil) {
		return
	}
	if p.reload == nil {
		p.log.Warn("nothing to reload: this process was started without a file")
		return
	}
	now, err := p.reload()
	if p.reloads != nil {
		p.reloads.ended(err)
	}
	p.access.signalled("reload", p.file, err)
	if err != nil {
		logReload(p.log, err)
		return
	}
	p.log.Info("reloaded")
	p.atStart.warn(now, p.log)
}

// logReload logs a file that cannot be taken: one record for each problem, so that its
// position can be read in JSON too.
func logReload(log *slog.Logger, err error) {
	bad, ok := errors.AsType[*config.Error](err)
	if !ok {
		log.Error("reload failed; the old settings stay", "err", err)
		return
	}
	for _, p := range bad.Problems {
		log.Error("problem in the file", "at", fmt.Sprintf("%s:%d:%d", bad.Name, p.Line, p.Column), "in", p.Where, "err", p.Text)
	}
	n := len(bad.Problems) + bad.More
	log.Error("reload failed; the old settings stay", "err", fmt.Sprintf("%s has %d %s", bad.Name, n, plural(n, "problem")))
}

// runParts runs all parts at once. When ctx ends, or a part ends, it stops them one
// after another, waits for each, and returns their errors joined. Of a process that has
// been succeeded those parts stop first whose connections are the new program's now.
func runParts(ctx context.Context, parts []part) error {
	var errs []error
	early := make(chan struct{}, len(parts))
	results := make([]chan error, len(parts))
	stops := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		stops[i], results[i] = stop, make(chan error, 1)
		go func() {
			results[i] <- p.run(own)
			early <- struct{}{}
		}()
	}
	select {
	case <-ctx.Done():
	case <-early:
	}
	end := func(i int) {
		stops[i]()
		if err := <-results[i]; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", parts[i].name, err))
		}
	}
	succeeded := errors.Is(context.Cause(ctx), errSucceeded)
	for _, first := range []bool{true, false} {
		for i, p := range parts {
			if first == (succeeded && p.shared) {
				end(i)
			}
		}
	}
	return errors.Join(errs...)
}

// closeAll gives up listeners of a start that failed half way.
func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		if l != nil {
			_ = l.Close() // nothing was taken from it
		}
	}
}

// addresses joins the addresses of listeners for a log.
func addresses(listeners []net.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, address(l))
	}
	return strings.Join(all, ",")
}

// address returns where a listener listens, as it would be dialled; off for none.
func address(l net.Listener) string {
	switch {
	case l == nil:
		return off
	case l.Addr().Network() == "unix":
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
