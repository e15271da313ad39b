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

// Waking a goroutine costs as much as the rest of an ask. So a picker that finds nobody
// reading reads its own answer. The line's goroutine reads when there is more to read
// than one answer, and retires when nothing is expected. So that a lost connection is
// noticed and a picker whose context ends does not sit in a read, the line's goroutine
// is summoned on every tick. Where there is a Driver it has the turn as long as the
// connection is in order.

// turn says who may read from the connection, own the buffer, and call collect and deliver.
type turn uint8

const (
	ofLine   turn = iota // the line's goroutine, which may be asleep on its summons
	ofPicker             // a picker
	ofDriver
	ofNobody
)

// sleeper is a connection whose reader may hold a thread until an answer comes, and so has
// it sooner. Its deadline is known only to some hundredths of a second.
type sleeper interface {
	readAlone(p []byte) (int, error)
}

// reading is the part of a line that it needs for that. Who has the turn owns buf,
// have and alone; the line's mu guards the rest.
type reading struct {
	buf   []byte
	have  int
	alone bool // nobody else waits for an answer

	sleeper     sleeper // the connection, if it is one; nil: it is not
	turn        turn
	summons     chan struct{} // one slot: the turn is the line's again
	broken      error         // what ended a picker's read
	interrupted bool          // the deadline for reading has been set to end a picker's read
	ticks       int           // since a picker took the turn
	parting     bool          // Goodbye is said

	driver  Driver     // reads instead of the line's goroutine; nil: none
	pulling sync.Mutex // held while it reads
}

func newReading(size int) reading {
	return reading{buf: make([]byte, size), summons: make(chan struct{}, 1)}
}

// begin gives a new connection's turn to the line.
func (r *reading) begin(conn net.Conn) {
	r.sleeper, _ = conn.(sleeper)
	if runtime.GOMAXPROCS(0) == 1 {
		r.sleeper = nil // all others would sleep too
	}
	r.have, r.turn, r.broken, r.interrupted, r.parting = 0, ofLine, nil, false, false
}

// read reads whenever it is the line's turn, until the connection breaks. life is the
// connection's.
func (l *line) read(life context.Context, conn net.Conn) (wasUp bool, err error) {
	forget := func() {}
	defer func() { forget() }()
	for {
		n, err := conn.Read(l.buf[l.have:])
		bad := l.take(life, n)
		if !wasUp && l.isUp.Load() {
			wasUp = true
			forget, _ = l.inside.Learn(l.talk.base().inside, inside.OriginOf(conn.RemoteAddr()))
			l.log.InfoContext(life, "connected", "master", l.talk.base().master, "address", conn.RemoteAddr().String())
		}
		switch {
		case bad != nil:
			return wasUp, bad
		case errors.Is(err, io.EOF):
			return wasUp, errHungUp
		case err != nil:
			return wasUp, err
		}
		if err := l.retire(); err != nil {
			return wasUp, err
		}
	}
}

var errHungUp = errors.New("it closed the connection")

// retire leaves the turn to the driver or, while nothing is expected, to pickers. It
// returns when the turn is the line's again, with what ended the others' reads.
func (l *line) retire() error {
	l.mu.Lock()
	conn, driven := l.conn.(drivable)
	driver := l.driver
	switch {
	case l.parting || l.talk.base().stage != up:
		l.mu.Unlock()
		return nil
	case driven && driver != nil:
		l.turn = ofDriver
		l.mu.Unlock()
		if !l.entrust(conn, driver) {
			l.undrive(driver)
		}
	case l.talk.expecting():
		l.mu.Unlock()
		return nil
	default:
		l.turn = ofNobody
		l.mu.Unlock()
	}
	<-l.summons
	l.pulling.Lock() // until a driver that is in the middle of it has read
	defer l.pulling.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// summon gives the turn to the line if nobody has it, and takes it from a picker that
// has had it for long. mu is held.
func (l *line) summon(conn net.Conn) {
	switch {
	case l.conn != conn:
	case l.turn == ofNobody, l.turn == ofDriver && (l.parting || l.cause != nil):
		l.reclaim()
	case l.turn == ofPicker && !l.parting && !l.interrupted:
		if l.ticks++; l.ticks > 1 {
			l.interrupted = true
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// takeTurn gives the turn to a picker if nobody has it, and returns what to read from;
// nil: it is another's turn. mu is held.
func (l *line) takeTurn() net.Conn {
	if l.turn != ofNobody || l.conn == nil {
		return nil
	}
	l.turn, l.ticks = ofPicker, 0
	l.alone = l.sleeper != nil && l.talk.underWay() == 1
	return l.conn
}

// readOnce is a picker's read; then it passes the turn on, with what went wrong. It
// reports whether its own answer was there.
func (l *line) readOnce(ctx context.Context, conn net.Conn, own <-chan struct{}) (settled bool) {
	read := conn.Read
	if l.alone {
		read = l.sleeper.readAlone
	}
	n, err := read(l.buf[l.have:])
	bad := l.take(ctx, n)
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
		if !l.parting {
			_ = conn.SetReadDeadline(time.Time{})
		}
	}
	l.fail(cmp.Or(bad, err))
	l.turn = ofNobody
	if l.broken != nil || l.parting || l.cause != nil || l.talk.expecting() {
		l.summon(conn)
	}
	return settled
}

// fail notes what ended a read; nil: nothing did. mu is held.
func (l *line) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	if err != nil {
		l.broken = err
	}
}

// piece is how many bytes are handed to the talk under one lock. Those who ask meanwhile
// would else wait for as long as a thousand answers take.
const piece = 4 << 10

// take hands n bytes more to the talk and carries out what follows.
func (l *line) take(ctx context.Context, n int) (err error) {
	if n == 0 {
		return nil
	}
	l.have += n
	now, at, used := clock.Now(), 0, 0
	for at < l.have && err == nil {
		used, err = l.hand(ctx, now, l.buf[at:min(at+piece, l.have)])
		if used == 0 && err == nil && l.have-at > piece { // a frame that is larger
			used, err = l.hand(ctx, now, l.buf[at:l.have])
		}
		if at += used; used == 0 {
			break
		}
	}
	if l.have = copy(l.buf, l.buf[at:l.have]); l.have == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	return err
}

// hand hands bytes to the talk and returns how many it used.
func (l *line) hand(ctx context.Context, now balance.Instant, bytes []byte) (used int, err error) {
	l.mu.Lock()
	before := l.talk.underWay()
	used, err = l.talk.receive(now, bytes)
	l.resuming += before - l.talk.underWay()
	l.talk.collect()
	s := l.talk.base()
	if up := s.stage == up; up != l.isUp.Load() {
		l.setUp(up)
		l.settle()
	}
	if s.urgent {
		l.kick()
	}
	l.mu.Unlock()
	l.deliver(ctx)
	return used, err
}
