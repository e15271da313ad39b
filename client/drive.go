package client

import (
	"context"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Driver reads a connection in the place of its Client's goroutine: a loop that waits for
// many descriptors anyway, and would else have to be woken for each answer.
type Driver interface {
	// Drive is told of a connection. descriptor is a copy of its descriptor, for the driver
	// to move, watch and in the end close. From now on the driver calls read when there is
	// something to read, at first in any case, and again after a hang-up, until it returns
	// false. Drive does not wait. If the driver has ended, it returns false.
	Drive(descriptor *fd.FD, read func() (more bool)) bool
}

// drivable is a connection that a Driver can read.
type drivable interface {
	copy() (fd.FD, error)
	tryRead(p []byte) (int, error) // EAGAIN: there is nothing
	trySend(p []byte) (int, error) // as much as goes
	unsent() bool                  // part of what trySend took has not gone; the next Write sends it
	shortReadIsLast() bool         // a read that returns less than it has room for has emptied the connection
}

// Drive has d read the connection, and those to come, instead of the goroutine or picker
// that did. On Linux, that is: elsewhere all stays as it is.
func (c *Client) Drive(d Driver) { c.line.drive(d) }

// Undrive ends what Drive began, unless another driver has followed d.
func (c *Client) Undrive(d Driver) { c.line.undrive(d) }

func (l *line) undrive(d Driver) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.driver != d {
		return
	}
	if l.driver = nil; l.turn == ofDriver {
		l.reclaim()
	}
}

func (l *line) drive(d Driver) {
	l.mu.Lock()
	l.driver = d
	if l.turn == ofNobody {
		l.reclaim() // for it hands over when it has read
	}
	conn, driven := l.conn.(drivable)
	driven = driven && l.turn == ofDriver
	l.mu.Unlock()
	if driven && !l.entrust(conn, d) {
		l.undrive(d)
	}
}

// reclaim gives the turn back to the line's goroutine. mu is held.
func (l *line) reclaim() {
	l.turn = ofLine
	l.summons <- struct{}{}
}

// entrust hands a connection over.
func (l *line) entrust(conn drivable, d Driver) bool {
	descriptor, err := conn.copy()
	if err != nil {
		return false
	}
	defer descriptor.Close() // unless the driver has moved it
	return d.Drive(&descriptor, func() bool { return l.pull(conn, d) })
}

// pull is a driver's read.
func (l *line) pull(conn drivable, d Driver) (more bool) {
	l.pulling.Lock()
	defer l.pulling.Unlock()
	for l.drivenBy(conn, d) {
		room := l.buf[l.have:]
		n, err := conn.tryRead(room)
		if err == syscall.EAGAIN {
			return true
		}
		if bad := l.take(context.Background(), n); bad != nil {
			err = bad
		}
		if err != nil {
			l.broke(err)
			return false
		}
		if n < len(room) && conn.shortReadIsLast() {
			return true
		}
	}
	return false
}

func (l *line) drivenBy(conn drivable, d Driver) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn == ofDriver && l.driver == d && any(l.conn) == any(conn)
}

// broke says that a driver's read has ended the connection.
func (l *line) broke(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(err)
	if l.turn == ofDriver {
		l.reclaim()
	}
}

// Ask is a question whose answer is told instead of waited for. It is not to be touched
// from when it is asked until it is answered or withdrawn; then it may be used again.
type Ask struct {
	To Asker

	waiter waiter
	client *Client
	seq    uint64
}

// Asker is told the answer to an Ask, once: what Pick would have returned. It must not
// block, for whoever reads for all tells it.
type Asker interface {
	Answered(g balance.Grant, err error)
}

// Ask asks as Pick does, but only puts the question where Flush takes it along, and has
// a.To told the answer. An error says that nobody will be.
func (c *Client) Ask(pool string, req *balance.Request, a *Ask) error {
	l := c.line
	a.client, a.waiter.ask = c, a
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if a.seq, err = c.talk.ask(c.instant(req), pool, req, &a.waiter); err == nil {
		l.gathered.Store(true)
	}
	return err
}

// Withdraw takes an Ask back. It returns false if the answer has been told or is just
// being told.
func (c *Client) Withdraw(a *Ask) bool { return a.client.cancel(a.seq) }

// GiveBack ends a lease as Done does, but has the word gather where Flush takes it along.
func (c *Client) GiveBack(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.end(pool, lease, o) && l.returns.Load() == 0 {
		l.returns.Store(int64(now.Add(linger)))
	}
}

// Flush writes what Ask has gathered, and what GiveBack has if it has waited for long
// enough. Until then it is left to the next Flush if the caller stays awake, and else to a
// timer, which would cost another goroutine's waking. Flush does not block: what does not
// go at once goes with the line's goroutine.
func (c *Client) Flush(now balance.Instant, stays bool) {
	l := c.line
	due := balance.Instant(l.returns.Load())
	if mayWait := due == 0 || stays && now < due; mayWait && !l.gathered.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.returns.Store(0)
	if !l.gathered.Swap(false) && now < due {
		l.soon()
		return
	}
	l.dash()
}

// dash writes what has gathered without waiting. mu is held; it is not while a write is
// under way.
func (l *line) dash() {
	conn, s := l.conn, l.talk.base()
	if conn != nil && l.turn == ofNobody && l.talk.expecting() {
		l.reclaim() // the answer to an Ask has no picker that reads it
	}
	if l.writing || conn == nil || len(s.out) == 0 {
		return
	}
	if to, ok := conn.(drivable); ok {
		l.writing = true
		buf := l.takeOut()
		l.mu.Unlock()
		n, err := to.trySend(buf)
		l.mu.Lock()
		switch {
		case err != nil:
			l.drop(conn, err)
		case n < len(buf) && l.conn == conn:
			s.out = append(slices.Clone(buf[n:]), s.out...)
		}
		l.putOut(buf)
		l.writing = false
		l.idle.Broadcast()
	}
	if l.unwritten(conn) {
		l.kick()
	}
}
