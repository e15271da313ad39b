package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
)

// Waking a goroutine costs as much as the rest of an ask. So a picker, a goroutine in Pick, reads its own
// answer if no one else reads. The loop goroutine reads when more than one answer is due, and stops when none
// is. It is woken on every tick: then it notices a lost connection, and takes over from a picker that has been
// reading for long. A Driver has the turn as long as the connection works.

// readTurn says who may read from the connection, use the buffer, and call collect and deliver.
type readTurn uint8

const (
	turnLoop   readTurn = iota // the loop goroutine, which may be waiting for readerWake
	turnPicker                 // a caller of Pick
	turnPoller
	turnFree
)

// blockingReader is a connection whose reader may block a thread until an answer comes, and so has it sooner.
// Its read deadline is exact to some 50 ms.
type blockingReader interface {
	readBlocking(p []byte) (int, error)
}

// reading is the reading side of a connLoop. The goroutine that has the turn owns buf, buffered and blocking; the
// connLoop's mu guards the rest.
type reading struct {
	buf      []byte
	buffered int
	blocking bool // the picker's is the only ask, so it may use readBlocking

	blockingReader blockingReader // the connection, if it is one; else nil
	turn           readTurn
	readerWake     chan struct{} // one slot: the loop goroutine has the turn again
	readError      error         // what ended a picker's or a driver's read
	interrupted    bool          // the read deadline is set, to end a picker's read
	pickerTicks    int           // since a picker took the turn
	closing        bool          // the Goodbye is sent

	poller        ConnPoller // reads instead of the loop goroutine; nil: none
	pollerReading sync.Mutex // held while the driver reads
}

func newReading(size int) reading {
	return reading{buf: make([]byte, size), readerWake: make(chan struct{}, 1)}
}

// reset gives the turn of a new connection to the loop goroutine.
func (r *reading) reset(conn net.Conn) {
	r.blockingReader, _ = conn.(blockingReader)
	if runtime.GOMAXPROCS(0) == 1 {
		r.blockingReader = nil // a blocked thread would block all goroutines
	}
	r.buffered, r.turn, r.readError, r.interrupted, r.closing = 0, turnLoop, nil, false, false
}

// readLoop reads whenever the loop goroutine has the turn, until the connection fails. life is the
// connection's.
func (l *connLoop) readLoop(life context.Context, conn net.Conn) (wasUp bool, err error) {
	forget := func() {}
	defer func() { forget() }()
	for {
		n, err := conn.Read(l.buf[l.buffered:])
		bad := l.receiveBytes(life, n)
		if !wasUp && l.isUp.Load() {
			wasUp = true
			forget, _ = l.inside.Learn(l.proto.base().inside, inside.OriginOf(conn.RemoteAddr()))
			l.log.InfoContext(life, "connected", "master", l.proto.base().master, "address", conn.RemoteAddr().String())
		}
		switch {
		case bad != nil:
			return wasUp, bad
		case errors.Is(err, io.EOF):
			return wasUp, errHungUp
		case err != nil:
			return wasUp, err
		}
		if err := l.passTurn(); err != nil {
			return wasUp, err
		}
	}
}

var errHungUp = errors.New("it closed the connection")

// passTurn leaves the turn to the driver or, if nothing is due, to pickers. It returns when the loop goroutine
// has the turn again, with what ended the others' reads.
func (l *connLoop) passTurn() error {
	l.mu.Lock()
	conn, driven := l.conn.(pollable)
	driver := l.poller
	switch {
	case l.closing || l.proto.base().stage != connected:
		l.mu.Unlock()
		return nil
	case driven && driver != nil:
		l.turn = turnPoller
		l.mu.Unlock()
		if !l.handToPoller(conn, driver) {
			l.unsetPoller(driver)
		}
	case l.proto.awaitsReply():
		l.mu.Unlock()
		return nil
	default:
		l.turn = turnFree
		l.mu.Unlock()
	}
	<-l.readerWake
	l.pollerReading.Lock() // waits for a read of the driver to end
	defer l.pollerReading.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readError
}

// wakeReaderLocked gives the turn to the loop goroutine if it is free, and takes it from a picker that has had
// it for long.
func (l *connLoop) wakeReaderLocked(conn net.Conn) {
	switch {
	case l.conn != conn:
	case l.turn == turnFree, l.turn == turnPoller && (l.closing || l.closeCause != nil):
		l.reclaimTurnLocked()
	case l.turn == turnPicker && !l.closing && !l.interrupted:
		if l.pickerTicks++; l.pickerTicks > 1 {
			l.interrupted = true
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// takeTurnLocked gives a free turn to a picker and returns the connection; nil: the turn is taken.
func (l *connLoop) takeTurnLocked() net.Conn {
	if l.turn != turnFree || l.conn == nil {
		return nil
	}
	l.turn, l.pickerTicks = turnPicker, 0
	l.blocking = l.blockingReader != nil && l.proto.asksInFlight() == 1
	return l.conn
}

// pickerRead reads once for a picker, then frees the turn. It reports whether the picker's own answer came.
func (l *connLoop) pickerRead(ctx context.Context, conn net.Conn, own <-chan struct{}) (settled bool) {
	read := conn.Read
	if l.blocking {
		read = l.blockingReader.readBlocking
	}
	n, err := read(l.buf[l.buffered:])
	bad := l.receiveBytes(ctx, n)
	select {
	case <-own:
		settled = true
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.interrupted {
		l.interrupted = false
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		if !l.closing {
			_ = conn.SetReadDeadline(time.Time{})
		}
	}
	l.setReadErrorLocked(cmp.Or(bad, err))
	l.turn = turnFree
	if l.readError != nil || l.closing || l.closeCause != nil || l.proto.awaitsReply() {
		l.wakeReaderLocked(conn)
	}
	return settled
}

// setReadErrorLocked records what ended a read; nil: nothing did.
func (l *connLoop) setReadErrorLocked(err error) {
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	if err != nil {
		l.readError = err
	}
}

// chunk is how many bytes the protocol handles under one lock. Otherwise callers that ask meanwhile would wait
// for as long as a thousand answers take.
const chunk = 4 << 10

// receiveBytes handles n more bytes of the buffer and delivers the results.
func (l *connLoop) receiveBytes(ctx context.Context, n int) (err error) {
	if n == 0 {
		return nil
	}
	l.buffered += n
	now, at, used := clock.Now(), 0, 0
	for at < l.buffered && err == nil {
		used, err = l.feed(ctx, now, l.buf[at:min(at+chunk, l.buffered)])
		if used == 0 && err == nil && l.buffered-at > chunk { // a larger frame
			used, err = l.feed(ctx, now, l.buf[at:l.buffered])
		}
		if at += used; used == 0 {
			break
		}
	}
	if l.buffered = copy(l.buf, l.buf[at:l.buffered]); l.buffered == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	return err
}

// feed has the protocol handle bytes and returns how many it used.
func (l *connLoop) feed(ctx context.Context, now balance.Instant, bytes []byte) (used int, err error) {
	l.mu.Lock()
	before := l.proto.asksInFlight()
	used, err = l.proto.receive(now, bytes)
	l.resuming += before - l.proto.asksInFlight()
	l.proto.collect()
	s := l.proto.base()
	if up := s.stage == connected; up != l.isUp.Load() {
		l.setConnectedLocked(up)
		l.endFirstRound()
	}
	if s.urgent {
		l.requestWrite()
	}
	l.mu.Unlock()
	l.deliver(ctx)
	return used, err
}
