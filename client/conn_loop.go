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

// protocol is the state machine of one role. A connLoop drives it with its lock held.
type protocol interface {
	base() *session
	receive(now balance.Instant, buf []byte) (used int, err error)
	goodbye(now balance.Instant)
	lost(why error)
	flushReports(now balance.Instant)
	collect()
	awaitsReply() bool // an answer or a snapshot is due
	asksInFlight() int // asks without an answer
}

// Times and sizes of a connLoop.
const (
	dialTimeout    = 3 * time.Second
	writeTimeout   = 4 * time.Second // a write that takes longer means that the master is stuck
	goodbyeTimeout = time.Second     // for the Goodbye to be written and the master to hang up
	flushDelay     = time.Millisecond
	longFlushDelay = 16 * time.Millisecond
	piggybackRuns  = 8 // flushes in a row that an ask had made unnecessary
	reportDelay    = 100 * time.Millisecond
	largeWrite     = 16 << 10
	maxWriteRounds = 4 // after so many writes a picker leaves further ones to the loop goroutine
)

const spareAddress = "another address of a master that is connected already, kept for when that connection is lost"

// connLoop keeps one connection to one of its masters and makes another when it is lost.
type connLoop struct {
	masters        []string
	learnedAddress atomic.Pointer[string] // one more address of the master that answers at masters; nil: none is known
	otherEpochs    func() []uint64        // epochs of the masters that other connLoops of the process are connected to; nil: there are none
	onDisconnect   func()                 // called without the lock when a connection has ended; nil: nothing is called
	retryNow       chan struct{}          // one slot: ends the wait before the next attempt
	security
	inside         *inside.Set // the own addresses that each hello names; nil: none
	log            *slog.Logger
	peer           *trust.Peer               // the master's certificate; owned by connectOnce, nil without certificates
	mayBlockThread bool                      // a reader may block a thread instead of waiting in Go's poller
	deliver        func(ctx context.Context) // hands out what collect has set aside; called without the lock, never concurrently

	connStatus
	asksGathered atomic.Bool  // Ask has appended something for Flush
	donesDue     atomic.Int64 // the balance.Instant until which messages of GiveBack may wait; zero: none waits
	reading

	writeRequests chan struct{} // one slot: something urgent is to be written
	flushTimer    *time.Timer   // fires when something has to be written
	reportTimer   *time.Timer   // fires when reports have to be sent

	mu         sync.Mutex
	proto      protocol
	conn       net.Conn // nil while there is none
	closeCause error    // why this side closed conn
	parkedFor  []uint64 // epochs of masters: no attempt is made while one of them is connected through another connLoop
	frameWriter
}

// frameWriter is how what is to be sent is written. mu guards it.
type frameWriter struct {
	spareBuf        []byte // swaps with proto's out
	writing         bool
	writeDone       sync.Cond // signalled when writing ends
	writeDeadline   time.Time // as set on conn
	flushArmed      bool
	wroteSinceArmed bool // something was written since flushTimer was armed
	piggybacked     int  // armed flushes in a row whose data an ask had written already
	resuming        int  // answers since, less the asks since: these callers are about to ask again
	reportsArmed    bool
}

// connStatus is how the connection stands. It is read without the lock.
type connStatus struct {
	isUp          atomic.Bool
	epoch         atomic.Uint64 // of the connected master; zero: none is
	started       atomic.Bool   // Run has been called
	firstRound    chan struct{} // closed once a master has sent its Welcome or every master has been tried
	endFirstRound func()        // closes firstRound
	refusals      trust.Tally
	parentTally   *trust.Tally              // counts what refusals counts too; nil: none
	problem       atomic.Pointer[wire.Fail] // the last Fail, until a connection has lasted for minUptime
}

func newConnLoop(masters []string, safe security, log *slog.Logger, proto protocol, deliver func(context.Context)) *connLoop {
	l := &connLoop{masters: masters, security: safe, log: log, proto: proto, deliver: deliver, writeRequests: make(chan struct{}, 1), retryNow: make(chan struct{}, 1), reading: newReading(proto.base().bufferSize),
		flushTimer: time.NewTimer(time.Hour), reportTimer: time.NewTimer(time.Hour)}
	l.firstRound = make(chan struct{})
	l.endFirstRound = sync.OnceFunc(func() { close(l.firstRound) })
	l.writeDone.L = &l.mu
	l.flushTimer.Stop()
	l.reportTimer.Stop()
	return l
}

// run connects again and again until ctx ends.
func (l *connLoop) run(ctx context.Context) error {
	l.started.Store(true)
	defer l.endFirstRound()
	var wait retry
	logged := ""
	for at := 0; ctx.Err() == nil; at++ {
		all := l.addresses()
		master := all[at%len(all)]
		wasUp, err := l.connectOnce(ctx, master)
		if at >= len(l.masters)-1 {
			l.endFirstRound()
		}
		if ctx.Err() != nil {
			break
		}
		pause, level := wait.next(err, l.connectedFor(wasUp), l.proto.base().maxRetry), slog.LevelWarn
		news, text := "no connection to the master, trying again", err.Error()
		var fail *wire.Fail
		switch refused := errors.As(err, &fail) && fail.Code != wire.GoingAway; {
		case refused && fail.Code == wire.Connected:
			l.park()
			level, news, text = slog.LevelInfo, spareAddress, spareAddress
		case refused:
			l.problem.Store(fail)
			l.countRefusal(fail)
			level = slog.LevelError
		case wasUp:
			logged = "" // each loss is logged; a refusal, which may come after the welcome, only when it changes
		}
		if (at+1)%len(all) != 0 {
			pause = min(pause, jitter(l.proto.base().maxRetry)) // the next address may work at once
		}
		if text != logged {
			attrs := []any{"master", master, "err", err}
			if news == spareAddress {
				attrs = attrs[:2] // a spare address is no error
			}
			l.log.Log(ctx, level, news, attrs...)
			logged = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-l.retryNow:
		}
	}
	return nil
}

// connectedFor returns how long the connection that has ended was connected.
func (l *connLoop) connectedFor(wasUp bool) time.Duration {
	if !wasUp {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return clock.Now().Sub(l.proto.base().welcomedAt)
}

// addresses returns the master's addresses in the order in which they are tried.
func (l *connLoop) addresses() []string {
	if more := l.learnedAddress.Load(); more != nil && !slices.Contains(l.masters, *more) {
		return append(slices.Clone(l.masters), *more)
	}
	return l.masters
}

// park records that the master is connected through another connLoop, so this address is spare until that
// connection is lost. It is still tried now and then: another master may answer there later.
func (l *connLoop) park() {
	l.problem.Store(nil)
	l.mu.Lock()
	l.parkedFor = l.proto.base().hello.Connected
	l.mu.Unlock()
	l.unpark(l.otherEpochs()) // the other connection may have been lost meanwhile
}

// unpark has the loop connect at once if a master that it was parked for is not among the connected ones.
func (l *connLoop) unpark(connected []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.parkedFor, func(epoch uint64) bool { return !slices.Contains(connected, epoch) }) {
		l.parkedFor = nil
		select {
		case l.retryNow <- struct{}{}:
		default:
		}
	}
}

// connectOnce makes one connection and serves it until it is lost.
func (l *connLoop) connectOnce(ctx context.Context, master string) (wasUp bool, err error) {
	conn, err := l.dial(ctx, master)
	if err == nil {
		wasUp, err = l.serveConn(ctx, conn)
	}
	return wasUp, fmt.Errorf("master %s: %w", master, err)
}

// serveConn serves conn until it is lost, or until ctx ends and the Goodbye is sent.
func (l *connLoop) serveConn(ctx context.Context, conn net.Conn) (wasUp bool, err error) {
	l.attachConn(conn)
	defer l.watchCertificate(conn)()
	life, over := context.WithCancel(context.WithoutCancel(ctx))
	var tending sync.WaitGroup
	tending.Go(func() { l.maintain(ctx, life, conn) })
	wasUp, err = l.readLoop(life, conn)
	l.closeFailed(conn, err)
	over()
	tending.Wait()
	return wasUp, l.detachConn(life, err)
}

func (l *connLoop) dial(ctx context.Context, master string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialMaster(ctx, master)
	if err != nil {
		return nil, err
	}
	if l.mayBlockThread {
		conn = toSocket(conn)
	}
	return l.secure(ctx, conn, master)
}

func (l *connLoop) attachConn(conn net.Conn) {
	var others []uint64
	if l.otherEpochs != nil {
		others = l.otherEpochs() // takes no lock of this connLoop
	}
	l.mu.Lock()
	hello := &l.proto.base().hello
	l.parkedFor, hello.Connected, hello.Inside = nil, others, l.inside.Own()
	l.conn, l.closeCause, l.writeDeadline = conn, nil, time.Time{}
	l.reading.reset(conn)
	l.resuming = 0
	l.proto.base().open(clock.Now())
	l.writeAndUnlock()
}

// detachConn forgets the connection and wakes all callers that wait.
func (l *connLoop) detachConn(life context.Context, err error) error {
	l.mu.Lock()
	err = cmp.Or(l.closeCause, err)
	l.conn = nil
	l.setConnectedLocked(false)
	l.proto.lost(err)
	l.proto.collect()
	l.mu.Unlock()
	l.deliver(life)
	if l.onDisconnect != nil {
		l.onDisconnect()
	}
	return err
}

// setConnectedLocked records whether a master is connected.
func (l *connLoop) setConnectedLocked(up bool) {
	l.isUp.Store(up)
	if up {
		l.epoch.Store(l.proto.base().epoch)
	} else {
		l.epoch.Store(0)
	}
}

// requestWrite has the loop goroutine write soon.
func (l *connLoop) requestWrite() {
	select {
	case l.writeRequests <- struct{}{}:
	default:
	}
}

// maintain does the periodic work of a connection, until life or ctx ends.
func (l *connLoop) maintain(ctx, life context.Context, conn net.Conn) {
	tick := time.NewTicker(l.proto.base().tick)
	defer tick.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-ctx.Done():
			l.disconnect(conn)
			return
		case <-l.writeRequests:
			l.mu.Lock()
		case <-l.flushTimer.C:
			l.mu.Lock()
			l.flushArmed = false
			if l.piggybacked++; !l.wroteSinceArmed {
				l.piggybacked = 0
			}
		case <-l.reportTimer.C:
			l.mu.Lock()
			l.reportsArmed = false
			l.proto.flushReports(clock.Now())
		case <-tick.C:
			l.mu.Lock()
			now, s := clock.Now(), l.proto.base()
			if err := s.checkIdle(now); err != nil {
				l.closeConnLocked(conn, err)
			}
			if s.stage == connected && now.Sub(s.welcomedAt) > minUptime {
				l.problem.Store(nil)
			}
			l.wakeReaderLocked(conn)
		}
		l.writeAndUnlock()
	}
}

// disconnect sends a Goodbye and gives the master time to hang up.
func (l *connLoop) disconnect(conn net.Conn) {
	l.mu.Lock()
	l.closing = true
	_ = conn.SetDeadline(time.Now().Add(goodbyeTimeout))
	l.writeDeadline = time.Now().Add(writeTimeout) // so that writing keeps the shorter deadline
	l.proto.goodbye(clock.Now())
	l.setConnectedLocked(false)
	if l.proto.base().stage != closing {
		l.closeConnLocked(conn, context.Canceled) // there was no session to end
	}
	l.wakeReaderLocked(conn)
	l.writeAndUnlock()
}

// closeConnLocked closes conn, for a reason on this side.
func (l *connLoop) closeConnLocked(conn net.Conn, why error) {
	if l.conn == conn && l.closeCause == nil {
		l.closeCause = why
	}
	conn.Close()
	l.wakeReaderLocked(conn)
}

// closeFailed closes a connection that has failed. If the master broke the protocol it is told so first.
func (l *connLoop) closeFailed(conn net.Conn, err error) {
	l.mu.Lock()
	if l.closeCause == nil {
		l.closeCause = err
	}
	var bad *wire.FrameError
	if errors.As(err, &bad) {
		_ = conn.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
		l.writeDeadline = time.Now().Add(writeTimeout) // so that writing keeps the shorter deadline
		s := l.proto.base()
		s.stage = closing
		s.out = (&wire.Fail{Code: wire.BadFrame, Detail: bad.Error()}).Append(s.out)
		for l.writing {
			l.writeDone.Wait()
		}
	}
	l.writeAndUnlock()
	conn.Close()
}

// armFlushLocked makes sure that gathered messages are written within a moment. If asks follow each other so
// closely that they have long taken these messages along, the moment is longer: whenever the process goes idle
// the kernel has to program a timer that near, which costs up to a third of an ask.
func (l *connLoop) armFlushLocked() {
	if l.flushArmed || l.conn == nil {
		return
	}
	wait := flushDelay
	if l.piggybacked >= piggybackRuns && !l.proto.awaitsReply() {
		wait = longFlushDelay
	}
	l.flushArmed, l.wroteSinceArmed = true, false
	l.flushTimer.Reset(wait)
}

// writeAndUnlock writes what is gathered and unlocks mu.
func (l *connLoop) writeAndUnlock() {
	l.writeLocked()
	l.mu.Unlock()
}

// writeLocked writes what is gathered, unless another goroutine is writing, which then takes it along. It
// unlocks mu during each write.
func (l *connLoop) writeLocked() {
	conn, s := l.conn, l.proto.base()
	if l.writing || conn == nil || !l.hasUnwrittenLocked(conn) {
		return
	}
	l.writing = true
	if l.proto.asksInFlight()+l.resuming > 2 {
		l.mu.Unlock()
		runtime.Gosched() // other callers are about to ask; one write serves all
		l.mu.Lock()
	}
	for round := 0; l.conn == conn && l.hasUnwrittenLocked(conn); round++ {
		if round == maxWriteRounds {
			l.requestWrite()
			break
		}
		if (round > 0 || len(s.out) > largeWrite) && l.turn == turnFree {
			l.wakeReaderLocked(conn) // answers must be read while we write, or both sides may block
		}
		buf := l.takeOutputLocked()
		if now := time.Now(); l.writeDeadline.Sub(now) < writeTimeout/2 {
			l.writeDeadline = now.Add(writeTimeout)
			_ = conn.SetWriteDeadline(l.writeDeadline)
		}
		l.mu.Unlock()
		_, err := conn.Write(buf)
		l.mu.Lock()
		if l.recycleOutputLocked(buf); err != nil {
			l.closeConnLocked(conn, err)
			break
		}
	}
	l.writing = false
	l.writeDone.Broadcast()
	if l.conn != conn && len(s.out) > 0 {
		l.requestWrite() // a new connection came while we wrote to the old one
	}
}

// hasUnwrittenLocked reports whether anything waits to be written, here or in the connection.
func (l *connLoop) hasUnwrittenLocked(conn net.Conn) bool {
	if len(l.proto.base().out) > 0 {
		return true
	}
	d, ok := conn.(pollable)
	return ok && d.hasUnsent()
}

// takeOutputLocked returns what is gathered, which the caller is about to write.
func (l *connLoop) takeOutputLocked() []byte {
	s := l.proto.base()
	buf := s.out
	s.out, s.urgent, l.spareBuf, l.wroteSinceArmed = l.spareBuf[:0], false, nil, true
	l.donesDue.Store(0)
	return buf
}

// recycleOutputLocked keeps a buffer that was written for later use.
func (l *connLoop) recycleOutputLocked(buf []byte) {
	if cap(buf) <= maxUnwritten {
		l.spareBuf = buf
	}
}
