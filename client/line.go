package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// conversation is the state machine that a line drives, with its lock held.
type conversation interface {
	base() *session
	receive(now balance.Instant, buf []byte) (used int, err error)
	goodbye(now balance.Instant)
	lost(why error)
	flushReports(now balance.Instant)
	collect()
	expecting() bool // an answer
	underWay() int   // asks without one
}

// Times and sizes of a line.
const (
	dialTime    = 3 * time.Second
	writeTime   = 4 * time.Second // a write that takes longer means that the master is stuck
	partTime    = time.Second     // for the Goodbye to be written and the master to hang up
	linger      = time.Millisecond
	longLinger  = 16 * time.Millisecond
	steady      = 8 // lingers in a row in which others took along what waited
	reportsWait = 100 * time.Millisecond
	muchToWrite = 16 << 10
	writeRounds = 4 // after so many writes a picker leaves further ones to the line's goroutine
)

const spareAddress = "another address of a master that is connected already, kept for when that connection is lost"

// line keeps one connection to one of its masters and makes another when it is lost.
type line struct {
	masters []string
	learnt  atomic.Pointer[string] // one more address of the master that answers at masters; nil: none is known
	others  func() []uint64        // epochs of the masters that other lines of the process are connected to; nil: there are none
	left    func()                 // called, without the lock, when a connection has ended; nil: no other line cares
	again   chan struct{}          // one slot: the wait before the next attempt is over
	security
	inside  *inside.Set // whose own addresses each hello tells; nil: none
	log     *slog.Logger
	proven  *trust.Peer               // the master at the other end; owned by who visits, nil without certificates
	direct  bool                      // whoever reads may hold a thread
	deliver func(ctx context.Context) // what collect has set aside; called without the lock, never twice at once

	isUp     atomic.Bool
	epoch    atomic.Uint64 // of the master that has welcomed us and is there; zero: none is
	gathered atomic.Bool   // by Client.Ask, for Flush
	returns  atomic.Int64  // the balance.Instant until which what GiveBack gathered may wait; zero: nothing does
	begun    atomic.Bool   // Run
	tried    chan struct{} // closed once a master has welcomed us, or none of them has
	settle   func()        // closes tried
	refused  trust.Tally
	also     *trust.Tally              // counts what refused counts; nil: none
	problem  atomic.Pointer[wire.Fail] // the last Fail, until a master has had us for a second
	reading

	more    chan struct{} // something urgent is to be written
	flush   *time.Timer   // something is to be written by then
	reports *time.Timer   // reports are to be sent by then

	mu           sync.Mutex
	talk         conversation
	conn         net.Conn // nil while there is none
	cause        error    // why we closed conn
	parked       []uint64 // epochs of masters: it does not connect while one of them is connected through another line
	spare        []byte   // takes turns with the talk's out
	writing      bool
	idle         sync.Cond // when writing ends
	deadline     time.Time // that is set on conn for writing
	flushArmed   bool
	wrote        bool // since flush was armed
	carried      int  // lingers in a row in which we did
	resuming     int  // whose answers have come since, less the asks since: they are about to ask again
	reportsArmed bool
}

func newLine(masters []string, safe security, log *slog.Logger, talk conversation, deliver func(context.Context)) *line {
	l := &line{masters: masters, security: safe, log: log, talk: talk, deliver: deliver, more: make(chan struct{}, 1), again: make(chan struct{}, 1), reading: newReading(talk.base().buffer),
		flush: time.NewTimer(time.Hour), reports: time.NewTimer(time.Hour)}
	l.tried = make(chan struct{})
	l.settle = sync.OnceFunc(func() { close(l.tried) })
	l.idle.L = &l.mu
	l.flush.Stop()
	l.reports.Stop()
	return l
}

// run connects again and again until ctx ends.
func (l *line) run(ctx context.Context) error {
	l.begun.Store(true)
	defer l.settle()
	var wait retry
	said := ""
	for at := 0; ctx.Err() == nil; at++ {
		all := l.addresses()
		master := all[at%len(all)]
		wasUp, err := l.visit(ctx, master)
		if at >= len(l.masters)-1 {
			l.settle()
		}
		if ctx.Err() != nil {
			break
		}
		pause, level := wait.after(err, l.lasted(wasUp), l.talk.base().retry), slog.LevelWarn
		news, text := "no connection to the master, trying again", err.Error()
		var fail *wire.Fail
		switch refused := errors.As(err, &fail) && fail.Code != wire.GoingAway; {
		case refused && fail.Code == wire.Connected:
			l.park()
			level, news, text = slog.LevelInfo, spareAddress, spareAddress
		case refused:
			l.problem.Store(fail)
			l.count(fail)
			level = slog.LevelError
		case wasUp:
			said = "" // a loss is news each time; a refusal, which may come after the welcome, is not
		}
		if (at+1)%len(all) != 0 {
			pause = min(pause, spread(l.talk.base().retry)) // the next address may be better
		}
		if text != said {
			attrs := []any{"master", master, "err", err}
			if news == spareAddress {
				attrs = attrs[:2] // it is no error
			}
			l.log.Log(ctx, level, news, attrs...)
			said = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-l.again:
		}
	}
	return nil
}

// lasted returns for how long the connection that has ended was up.
func (l *line) lasted(wasUp bool) time.Duration {
	if !wasUp {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return clock.Now().Sub(l.talk.base().since)
}

// addresses returns where the master may be reached, in the order in which they are tried.
func (l *line) addresses() []string {
	if more := l.learnt.Load(); more != nil && !slices.Contains(l.masters, *more) {
		return append(slices.Clone(l.masters), *more)
	}
	return l.masters
}

// park notes that the master is connected through another line, and so this address has
// nothing to do until that is lost. It is tried now and then all the same: another master may
// have come to answer there.
func (l *line) park() {
	l.problem.Store(nil)
	l.mu.Lock()
	l.parked = l.talk.base().hello.Connected
	l.mu.Unlock()
	l.unpark(l.others()) // for it may have been lost meanwhile
}

// unpark has the line connect at once if a master that it was parked for is none of those
// that are connected.
func (l *line) unpark(connected []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.parked, func(epoch uint64) bool { return !slices.Contains(connected, epoch) }) {
		l.parked = nil
		select {
		case l.again <- struct{}{}:
		default:
		}
	}
}

// visit makes one connection and stays until it is lost.
func (l *line) visit(ctx context.Context, master string) (wasUp bool, err error) {
	conn, err := l.dial(ctx, master)
	if err == nil {
		wasUp, err = l.stay(ctx, conn)
	}
	return wasUp, fmt.Errorf("master %s: %w", master, err)
}

// stay converses over conn until it is lost, or until ctx ends and Goodbye is said.
func (l *line) stay(ctx context.Context, conn net.Conn) (wasUp bool, err error) {
	l.begin(conn)
	defer l.guard(conn)()
	life, over := context.WithCancel(context.WithoutCancel(ctx))
	var tending sync.WaitGroup
	tending.Go(func() { l.tend(ctx, life, conn) })
	wasUp, err = l.read(life, conn)
	l.giveUp(conn, err)
	over()
	tending.Wait()
	return wasUp, l.end(life, err)
}

func (l *line) dial(ctx context.Context, master string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := dialMaster(ctx, master)
	if err != nil {
		return nil, err
	}
	if l.direct {
		conn = direct(conn)
	}
	return l.secure(ctx, conn, master)
}

func (l *line) begin(conn net.Conn) {
	var others []uint64
	if l.others != nil {
		others = l.others() // which looks at other lines
	}
	l.mu.Lock()
	hello := &l.talk.base().hello
	l.parked, hello.Connected, hello.Inside = nil, others, l.inside.Own()
	l.conn, l.cause, l.deadline = conn, nil, time.Time{}
	l.reading.begin(conn)
	l.resuming = 0
	l.talk.base().open(clock.Now())
	l.push()
}

// end makes the talk forget the connection and wakes all who wait.
func (l *line) end(life context.Context, err error) error {
	l.mu.Lock()
	err = cmp.Or(l.cause, err)
	l.conn = nil
	l.setUp(false)
	l.talk.lost(err)
	l.talk.collect()
	l.mu.Unlock()
	l.deliver(life)
	if l.left != nil {
		l.left()
	}
	return err
}

// setUp notes whether a master has welcomed us and is there. mu is held.
func (l *line) setUp(up bool) {
	l.isUp.Store(up)
	if up {
		l.epoch.Store(l.talk.base().epoch)
	} else {
		l.epoch.Store(0)
	}
}

// kick makes the line's goroutine write soon.
func (l *line) kick() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// tend does what is due over time on a connection, until its life or ctx ends.
func (l *line) tend(ctx, life context.Context, conn net.Conn) {
	tick := time.NewTicker(l.talk.base().tick)
	defer tick.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-ctx.Done():
			l.part(conn)
			return
		case <-l.more:
			l.mu.Lock()
		case <-l.flush.C:
			l.mu.Lock()
			l.flushArmed = false
			if l.carried++; !l.wrote {
				l.carried = 0
			}
		case <-l.reports.C:
			l.mu.Lock()
			l.reportsArmed = false
			l.talk.flushReports(clock.Now())
		case <-tick.C:
			l.mu.Lock()
			now, s := clock.Now(), l.talk.base()
			if err := s.look(now); err != nil {
				l.drop(conn, err)
			}
			if s.stage == up && now.Sub(s.since) > accepted {
				l.problem.Store(nil)
			}
			l.summon(conn)
		}
		l.push()
	}
}

// part says Goodbye and gives the master time to hang up.
func (l *line) part(conn net.Conn) {
	l.mu.Lock()
	l.parting = true
	_ = conn.SetDeadline(time.Now().Add(partTime))
	l.deadline = time.Now().Add(writeTime) // so that push leaves the shorter one alone
	l.talk.goodbye(clock.Now())
	l.setUp(false)
	if l.talk.base().stage != leaving {
		l.drop(conn, context.Canceled) // nobody there to say it to
	}
	l.summon(conn)
	l.push()
}

// drop closes conn for a reason of our own. mu is held.
func (l *line) drop(conn net.Conn, why error) {
	if l.conn == conn && l.cause == nil {
		l.cause = why
	}
	conn.Close()
	l.summon(conn)
}

// giveUp tells the master, if it made no sense, and closes.
func (l *line) giveUp(conn net.Conn, err error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = err
	}
	var bad *wire.FrameError
	if errors.As(err, &bad) {
		_ = conn.SetWriteDeadline(time.Now().Add(partTime))
		l.deadline = time.Now().Add(writeTime) // so that push leaves the shorter one alone
		s := l.talk.base()
		s.stage = leaving
		s.out = (&wire.Fail{Code: wire.BadFrame, Detail: bad.Error()}).Append(s.out)
		for l.writing {
			l.idle.Wait()
		}
	}
	l.push()
	conn.Close()
}

// soon makes sure that what has gathered is written within a moment. Where asks follow
// each other so closely that they have long taken along whatever waited, the moment is
// longer: each time that the process falls asleep, the kernel has to set the clock for a
// timer so near, which costs as much as a third of an ask. mu is held.
func (l *line) soon() {
	if l.flushArmed || l.conn == nil {
		return
	}
	wait := linger
	if l.carried >= steady && !l.talk.expecting() {
		wait = longLinger
	}
	l.flushArmed, l.wrote = true, false
	l.flush.Reset(wait)
}

// push writes what has gathered. mu is held, and released.
func (l *line) push() {
	l.write()
	l.mu.Unlock()
}

// write writes what has gathered, unless somebody does so already, who then takes it
// along. mu is held; it is not while a write is under way.
func (l *line) write() {
	conn, s := l.conn, l.talk.base()
	if l.writing || conn == nil || !l.unwritten(conn) {
		return
	}
	l.writing = true
	if l.talk.underWay()+l.resuming > 2 {
		l.mu.Unlock()
		runtime.Gosched() // others are about to ask; one write will do for all
		l.mu.Lock()
	}
	for round := 0; l.conn == conn && l.unwritten(conn); round++ {
		if round == writeRounds {
			l.kick()
			break
		}
		if (round > 0 || len(s.out) > muchToWrite) && l.turn == ofNobody {
			l.summon(conn) // answers must be read while we write, or both sides may get stuck
		}
		buf := l.takeOut()
		if now := time.Now(); l.deadline.Sub(now) < writeTime/2 {
			l.deadline = now.Add(writeTime)
			_ = conn.SetWriteDeadline(l.deadline)
		}
		l.mu.Unlock()
		_, err := conn.Write(buf)
		l.mu.Lock()
		if l.putOut(buf); err != nil {
			l.drop(conn, err)
			break
		}
	}
	l.writing = false
	l.idle.Broadcast()
	if l.conn != conn && len(s.out) > 0 {
		l.kick() // a new connection came while we wrote to the old one
	}
}

// unwritten reports whether anything waits to be written, here or in the connection. mu is
// held.
func (l *line) unwritten(conn net.Conn) bool {
	if len(l.talk.base().out) > 0 {
		return true
	}
	d, ok := conn.(drivable)
	return ok && d.unsent()
}

// takeOut returns what has gathered, for it is about to be written. mu is held.
func (l *line) takeOut() []byte {
	s := l.talk.base()
	buf := s.out
	s.out, s.urgent, l.spare, l.wrote = l.spare[:0], false, nil, true
	l.returns.Store(0)
	return buf
}

// putOut takes its room back. mu is held.
func (l *line) putOut(buf []byte) {
	if cap(buf) <= mostUnwritten {
		l.spare = buf
	}
}
