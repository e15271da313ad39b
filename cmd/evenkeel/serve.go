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

	"github.com/evenkeel-lb/evenkeel/config"
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
	serving  []any             // attributes of the record that says so: role and addresses
	tell     func(line string) // what the person at the terminal should read; nil: nobody is there
	trust    *trust.Keeper     // looks for new certificates on SIGHUP too; nil: there are none
	parts    []part            // in the order in which they stop, each when the one before has ended
	draining func() int        // requests still open; nil: the role has none
	sockets  func() []heirloom // to hand over to a new program; nil: the role cannot
	yield    func()            // called when a new program has taken over, before the parts are stopped; nil: nothing to do
	legacy   func() any        // what else that is to know, for JSON; nil: nothing
	reload   func() error      // reads the file anew; nil: there is no file
}

// errSucceeded stops a process from which a new program has taken over.
var errSucceeded = errors.New("a new program has taken over")

// errHurried ends a process that was told twice to stop.
var errHurried = errors.New("told twice to stop")

// settleAfter is when what starting took is given back: no longer needed, and nobody waits.
const settleAfter = time.Second

// serve logs that it serves, once signals are heeded, and runs all parts until ctx ends, a signal says stop, or a part fails; then it
// stops them in order. A second signal makes it return at once.
func (p *process) serve(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if takeoverSignal != nil {
		signal.Notify(signals, takeoverSignal)
	}
	defer signal.Stop(signals)
	p.log.Info("serving", p.serving...)
	if err := tellReady(); err != nil {
		p.log.Warn("the program before cannot be told that this one serves", "err", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- runParts(ctx, p.parts) }()
	settled := time.After(settleAfter)
	for {
		select {
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
					p.reloadOnce()
				}
			case s == takeoverSignal:
				if ctx.Err() == nil && p.handOverOnce() {
					p.announceDrain()
					stop(errSucceeded)
				}
			case ctx.Err() != nil:
				return p.hurried()
			default:
				p.announceDrain()
				stop(nil)
			}
		}
	}
}

// handOverOnce has a new program take over and tells whether it has.
func (p *process) handOverOnce() bool {
	if p.sockets == nil {
		p.log.Warn("only an edge, alone or with its master, hands its sockets over to a new program: restart this role instead")
		return false
	}
	var known []byte
	var err error
	if p.legacy != nil {
		known, err = json.Marshal(p.legacy())
	}
	pid := 0
	if err == nil {
		pid, err = handOver(p.sockets(), known)
	}
	if err != nil {
		p.log.Error("no new program has taken over; this one goes on", "err", err)
		return false
	}
	p.log.Info("a new program has taken over", "pid", pid)
	if p.yield != nil {
		p.yield()
	}
	return true
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
	if p.trust != nil {
		if err := p.trust.Reload(); err != nil {
			p.log.Error("new certificate files are bad; the former certificate stays", "err", err)
		}
	}
	if p.reload == nil && p.trust != nil {
		return
	}
	if p.reload == nil {
		p.log.Warn("nothing to reload: this process was started without a file")
		return
	}
	if err := p.reload(); err != nil {
		logReload(p.log, err)
		return
	}
	p.log.Info("reloaded")
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
	log.Error("reload failed; the old settings stay", "err", fmt.Sprintf("%s has %d problems", bad.Name, len(bad.Problems)+bad.More))
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
