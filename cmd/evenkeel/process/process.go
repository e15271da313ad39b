package process

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

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/logs"
	"github.com/evenkeel-lb/evenkeel/internal/memory"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Component is something that runs until its context ends.
type Component struct {
	Name              string
	Run               func(context.Context) error
	SharesConnections bool // who has taken over takes its connections too, so then it is the first to stop
}

// Process is a role at work.
type Process struct {
	Log           *slog.Logger
	Serving       []any                                                    // attributes of the record that says so: role and addresses
	Overview      *Overview                                                // the same for people
	Console                                                                // the person at the terminal
	Trust         *trust.Keeper                                            // looks for new certificates on SIGHUP too; nil: there are none
	Signer        *trust.Signer                                            // the same; nil: it signs no agents' certificates
	Admin         *admin.Surface                                           // what it serves at its admin address, and at its socket whether it has that or not; nil: nothing
	Access        *AdminAccess                                             // who may use that; nil: there is none
	info          Info                                                     // what it says of itself on its socket
	File          string                                                   // that it was started with; empty: none
	Ready         <-chan struct{}                                          // closed once it takes requests; nil: it does as soon as the parts run
	Components    []Component                                              // in the order in which they stop, each when the one before has ended
	InFlight      func() int                                               // requests still open; nil: the role has none
	Sockets       func() []InheritedSocket                                 // to hand over to a new program; nil: the role cannot
	StopAccepting func()                                                   // called when a new program has taken over, before the parts are stopped; nil: nothing to do
	HandoffState  func() any                                               // what else that is to know, for JSON; nil: nothing
	Reload        func() (*settings.Settings, settings.StartupKeys, error) // reads the file anew, and returns it and what of it a reload does not take up; nil: there is no file
	StartupKeys   settings.StartupKeys                                     // the same when the process started
	LastReload    *ReloadResult                                            // what became of reload; nil: nothing shows it
	Settings      *settings.Settings                                       // that it works with; owned by Serve once it runs, see settingsMu
	*Logging
	control
}

// sameSignalWithin is how soon after a signal to stop another one is taken for the same: GNU timeout, and terminals whose
// foreground group is signalled, send it to the process and to its group.
const sameSignalWithin = 500 * time.Millisecond

// errReplaced stops a process from which a new program has taken over.
var errReplaced = errors.New("a new program has taken over")

// errSecondSignal ends a process that was stopped by a second signal.
var errSecondSignal = errors.New("stopped by a second signal")

// closedChannel is closed.
var closedChannel = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// returnMemoryAfter is how long after the start memory that only the start needed is returned to the system.
const returnMemoryAfter = time.Second

// Serve runs all parts until ctx ends, a signal says stop, or a part fails; then it stops them in order. It logs that the process
// serves once that is so, and signals are heeded. A second signal makes it return at once.
func (p *Process) Serve(ctx context.Context) error {
	p.Log = logs.Unlimited(p.Log)
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
	go func() { ended <- runComponents(ctx, p.Components) }()
	ready := p.Ready
	if ready == nil {
		ready = closedChannel
	}
	manager := serviceManagerFrom(os.Getenv, os.Getpid())
	watchdog, stopWatchdog := manager.watchdog()
	defer stopWatchdog()
	handing := handoverAttempt{done: make(chan handoverResult, 1)}
	defer handing.end()
	settled := time.After(returnMemoryAfter)
	signalled := stopSignals{p: p, manager: manager, stop: stop}
	for {
		select {
		case <-ready:
			ready = nil
			p.onReady(ctx, manager)
		case <-watchdog:
			manager.alive()
		case h := <-handing.done:
			handing.underWay = false
			if ctx.Err() == nil && p.onHandover(h) {
				p.Access.recordSignal("hand over", "", nil)
				hide() // from now on the new program is the one to be found
				p.announceDrain()
				stop(errReplaced)
			}
		case <-settled:
			p.returnMemory()
		case err := <-ended:
			if err == nil {
				p.Log.Info("stopped")
			}
			return err
		case answer := <-p.reloadRequests:
			if ctx.Err() != nil {
				answer <- ReloadReport{Changed: []string{}, Problems: []string{"the process stops"}}
				continue
			}
			manager.reloading()
			answer <- p.reloadOnce()
			manager.ready()
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				if ctx.Err() == nil {
					manager.reloading()
					report := p.reloadOnce()
					p.recordReload(report)
					manager.ready()
				}
			case s == takeoverSignal:
				if ctx.Err() == nil && !handing.underWay {
					handing.start(ctx, p)
				}
			default:
				if err := signalled.receive(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// onReady tells all who wait for it that the role serves.
func (p *Process) onReady(ctx context.Context, manager serviceManager) {
	p.announceServing(ctx)
	manager.ready()
	p.closeUntakenSockets()
	if err := reportReady(); err != nil {
		p.Log.Warn("the old program cannot be notified that this one serves", "err", err)
	}
}

func (p *Process) returnMemory() {
	if err := memory.Return(); err != nil {
		p.Log.Debug("memory that the start used cannot be returned", "err", err)
	}
}

// stopSignals is what signals to stop have done to a process.
type stopSignals struct {
	p       *Process
	manager serviceManager
	stop    context.CancelCauseFunc
	since   balance.Instant // the first signal; zero: none has come
}

// receive takes a signal to stop: the first has the process stop in order, a later one at once. ctx has ended if the process
// stops already.
func (s *stopSignals) receive(ctx context.Context) error {
	switch {
	case ctx.Err() == nil:
		s.since = clock.Now()
		s.p.Access.recordSignal("stop", "", nil)
		s.manager.stopping()
		s.p.announceDrain()
		s.stop(nil)
	case s.since == 0 || clock.Now().Sub(s.since) >= sameSignalWithin:
		return s.p.killed()
	default:
		s.p.Log.Info("a second signal to stop came at once and counts as the same one")
	}
	return nil
}

// announceServing says that the role serves: in a record, or in words if a person is there.
func (p *Process) announceServing(ctx context.Context) {
	if p.Banner == nil || p.Overview == nil {
		p.Log.Info("serving", p.Serving...)
		return
	}
	go func() { p.Banner(p.Overview.text(ctx, p.Paint)) }() // servers are asked whether they answer, which may take a moment
}

// handoverAttempt starts a new program while the process goes on and heeds signals: the program may hang.
type handoverAttempt struct {
	underWay bool
	done     chan handoverResult // what became of it
	stop     context.CancelFunc  // ends the new program unless it serves; nil: none was started
}

// end stops what is under way, and returns when the new program, if there is one, has ended or serves.
func (h *handoverAttempt) end() {
	if h.stop != nil {
		h.stop()
	}
	if h.underWay {
		<-h.done
	}
}

// handoverResult is what became of a handing over.
type handoverResult struct {
	pid     int
	program string // its path
	version string // as it says
	err     error
}

// start starts a new program.
func (h *handoverAttempt) start(ctx context.Context, p *Process) {
	if p.Sockets == nil {
		p.Log.Warn("only run and edge can hand their sockets to a new program: restart this role instead")
		return
	}
	h.underWay = true
	var known []byte
	var err error
	if p.HandoffState != nil {
		known, err = json.Marshal(p.HandoffState())
	}
	if err != nil {
		h.done <- handoverResult{err: err}
		return
	}
	ctx, h.stop = context.WithCancel(ctx)
	sockets := p.Sockets()
	go func() { h.done <- handOver(ctx, sockets, known) }()
}

// onHandover takes what became of a handing over and reports whether the new program serves.
func (p *Process) onHandover(h handoverResult) bool {
	if h.err != nil {
		p.Log.Error("the new program did not take over; this one continues", "program", h.program, "err", h.err)
		return false
	}
	p.Log.Info("a new program has taken over", "pid", h.pid, "program", h.program, "version", h.version)
	if p.StopAccepting != nil {
		p.StopAccepting()
	}
	return true
}

// closeUntakenSockets closes inherited sockets that no listener has taken: what comes to them would wait without end.
func (p *Process) closeUntakenSockets() {
	for _, h := range untakenSockets() {
		p.Log.Warn("the process inherited a socket that no listener of this role uses; it is closed", "socket", Address(h.Listener))
		_ = h.Close() // nothing was taken from it
	}
}

func (p *Process) announceDrain() {
	if p.InFlight == nil {
		return
	}
	n := p.InFlight()
	if n > 0 && p.Print != nil {
		p.Print(fmt.Sprintf("draining %d %s; press Ctrl-C again to stop now", n, terminal.Plural(n, "request")))
		return
	}
	p.Log.Info("draining", "requests", n)
}

func (p *Process) killed() error {
	if p.InFlight == nil {
		return errSecondSignal
	}
	n := p.InFlight()
	return fmt.Errorf("%w: %d %s cut off", errSecondSignal, n, terminal.Plural(n, "request"))
}

// reloadOnce reads all files anew. It logs and returns what became of that.
func (p *Process) reloadOnce() (r ReloadReport) {
	r.Changed = []string{}
	failed := func(err error, msg string) {
		if err != nil {
			p.Log.Error(msg, "err", err)
			r.Problems = append(r.Problems, msg+": "+err.Error())
		}
	}
	p.Access.reload()
	if p.Trust != nil {
		failed(p.Trust.Reload(), "the new certificate files are invalid; the old certificate stays in use")
	}
	if p.Signer != nil {
		failed(p.Signer.Reload(), "the new issuer's files are invalid; the old issuer stays in use")
	}
	if p.Reload == nil && (p.Trust != nil || p.Access != nil && p.Access.keys != nil) {
		r.Reloaded = len(r.Problems) == 0
		return r
	}
	if p.Reload == nil {
		p.Log.Warn("nothing to reload: this process was started without a file")
		r.Problems = append(r.Problems, "nothing to reload: this process was started without a file")
		return r
	}
	next, now, err := p.Reload()
	if p.LastReload != nil {
		p.LastReload.set(err)
	}
	r.File = p.File
	if err != nil {
		logReloadError(p.Log, err)
		r.Problems = append(r.Problems, p.currentSettings().HideSecrets(err).Error())
		return r
	}
	r.Reloaded, r.Changed = true, p.currentSettings().Changes(next)
	r.Restart = p.StartupKeys.Changed(now)
	p.setSettings(next)
	p.Log.Info("reloaded")
	warnRestartNeeded(p.StartupKeys, now, p.Log)
	return r
}

// recordReload records a reload by signal, as others are recorded by their endpoint.
func (p *Process) recordReload(r ReloadReport) {
	if r.File == "" {
		return
	}
	var err error
	if !r.Reloaded {
		err = errors.New(strings.Join(r.Problems, "; "))
	}
	p.Access.recordSignal("reload", r.File, err)
}

// logReloadError logs a file that cannot be taken: one record for each problem, so that its
// position can be read in JSON too.
func logReloadError(log *slog.Logger, err error) {
	bad, ok := errors.AsType[*config.Error](err)
	if !ok {
		log.Error("reload failed; the old settings stay", "err", err)
		return
	}
	for _, p := range bad.Problems {
		log.Error("problem in the file", "at", fmt.Sprintf("%s:%d:%d", bad.Name, p.Line, p.Column), "in", p.Where, "err", p.Text)
	}
	n := len(bad.Problems) + bad.More
	log.Error("reload failed; the old settings stay", "err", fmt.Sprintf("%s has %d %s", bad.Name, n, terminal.Plural(n, "problem")))
}

// runComponents runs all parts at once. When ctx ends, or a part ends, it stops them one
// after another, waits for each, and returns their errors joined. Of a process that has
// been succeeded those parts stop first whose connections are the new program's now.
func runComponents(ctx context.Context, parts []Component) error {
	var errs []error
	early := make(chan struct{}, len(parts))
	results := make([]chan error, len(parts))
	stops := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		stops[i], results[i] = stop, make(chan error, 1)
		go func() {
			results[i] <- p.Run(own)
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
			errs = append(errs, fmt.Errorf("%s: %w", parts[i].Name, err))
		}
	}
	succeeded := errors.Is(context.Cause(ctx), errReplaced)
	for _, first := range []bool{true, false} {
		for i, p := range parts {
			if first == (succeeded && p.SharesConnections) {
				end(i)
			}
		}
	}
	return errors.Join(errs...)
}

// CloseAll gives up listeners of a start that failed half way.
func CloseAll(listeners []net.Listener) {
	for _, l := range listeners {
		if l != nil {
			_ = l.Close() // nothing was taken from it
		}
	}
}

// Addresses joins the addresses of listeners for a log.
func Addresses(listeners []net.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, Address(l))
	}
	return strings.Join(all, ",")
}

// Address returns where a listener listens, as it would be dialled; off for none.
func Address(l net.Listener) string {
	switch {
	case l == nil:
		return settings.Off
	case l.Addr().Network() == "unix":
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
