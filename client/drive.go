package client

import (
	"context"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Driver reads a connection instead of its Client's goroutine: an event loop that waits for many descriptors
// anyway and would otherwise have to be woken for each answer.
type Driver interface {
	// Drive hands over a connection. descriptor is a copy of its descriptor, which the driver moves, watches
	// and closes. From then on the driver calls read whenever there is something to read, once at the
	// beginning, and after a hang-up, until read returns false. Drive does not block. It returns false if the
	// driver has ended.
	Drive(descriptor *fd.FD, read func() (more bool)) bool
}

// drivable is a connection that a Driver can read.
type drivable interface {
	copyFD() (fd.FD, error)
	tryRead(p []byte) (int, error)  // EAGAIN: there is nothing to read
	tryWrite(p []byte) (int, error) // writes as much as the socket takes
	hasUnsent() bool                // part of what tryWrite accepted is not sent; the next Write sends it
	shortReadIsLast() bool          // a read that did not fill its buffer has emptied the connection
}

// Drive has d read the current and all later connections, instead of a goroutine or a picker. Only Linux
// supports it; elsewhere it has no effect.
func (c *Client) Drive(d Driver) { c.loop.setDriver(d) }

// Undrive ends what Drive began, unless another driver has followed d.
func (c *Client) Undrive(d Driver) { c.loop.unsetDriver(d) }

func (l *connLoop) unsetDriver(d Driver) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.driver != d {
		return
	}
	if l.driver = nil; l.turn == turnDriver {
		l.reclaimTurnLocked()
	}
}

func (l *connLoop) setDriver(d Driver) {
	l.mu.Lock()
	l.driver = d
	if l.turn == turnFree {
		l.reclaimTurnLocked() // the loop goroutine hands over after its next read
	}
	conn, driven := l.conn.(drivable)
	driven = driven && l.turn == turnDriver
	l.mu.Unlock()
	if driven && !l.handToDriver(conn, d) {
		l.unsetDriver(d)
	}
}

// reclaimTurnLocked gives the turn back to the loop goroutine.
func (l *connLoop) reclaimTurnLocked() {
	l.turn = turnLoop
	l.readerWake <- struct{}{}
}

// handToDriver hands a connection over to the driver.
func (l *connLoop) handToDriver(conn drivable, d Driver) bool {
	descriptor, err := conn.copyFD()
	if err != nil {
		return false
	}
	defer descriptor.Close() // no effect if the driver has moved it
	return d.Drive(&descriptor, func() bool { return l.driverRead(conn, d) })
}

// driverRead is a driver's read.
func (l *connLoop) driverRead(conn drivable, d Driver) (more bool) {
	l.driverReading.Lock()
	defer l.driverReading.Unlock()
	for l.isDrivenBy(conn, d) {
		room := l.buf[l.buffered:]
		n, err := conn.tryRead(room)
		if err == syscall.EAGAIN {
			return true
		}
		if bad := l.receiveBytes(context.Background(), n); bad != nil {
			err = bad
		}
		if err != nil {
			l.driverFailed(err)
			return false
		}
		if n < len(room) && conn.shortReadIsLast() {
			return true
		}
	}
	return false
}

func (l *connLoop) isDrivenBy(conn drivable, d Driver) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn == turnDriver && l.driver == d && any(l.conn) == any(conn)
}

// driverFailed records the error that ended a driver's read.
func (l *connLoop) driverFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setReadErrorLocked(err)
	if l.turn == turnDriver {
		l.reclaimTurnLocked()
	}
}

// Ask is an ask whose answer is delivered by a call. Do not touch it from when it is sent until it is answered
// or withdrawn; then it may be used again.
type Ask struct {
	To Asker

	waiter waiter
	client *Client
	seq    uint64
}

// Asker receives the answer to an Ask, once: what Pick would have returned. Answered must not block, since it
// runs on the goroutine that reads the connection.
type Asker interface {
	Answered(g balance.Grant, err error)
}

// Ask asks as Pick does, but only appends the ask for the next Flush; a.To gets the answer. On an error it
// gets none.
func (c *Client) Ask(pool string, req *balance.Request, a *Ask) error {
	l := c.loop
	a.client, a.waiter.ask = c, a
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if a.seq, err = c.proto.appendAsk(c.askTimeLocked(req), pool, req, &a.waiter); err == nil {
		l.asksGathered.Store(true)
	}
	return err
}

// Withdraw withdraws an Ask. It returns false if the answer has been delivered or is being delivered.
func (c *Client) Withdraw(a *Ask) bool { return a.client.cancelAsk(a.seq) }

// GiveBack ends a lease as Done does, but leaves the message for the next Flush.
func (c *Client) GiveBack(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.endLeaseLocked(pool, lease, o) && l.donesDue.Load() == 0 {
		l.donesDue.Store(int64(now.Add(flushDelay)))
	}
}

// Flush writes what Ask has gathered, and what GiveBack has gathered if that has waited for long enough. If
// not, it is left to the next Flush if the caller stays awake, else to a timer, which would wake another
// goroutine. Flush does not block: what the socket does not take is written by the loop goroutine.
func (c *Client) Flush(now balance.Instant, stays bool) {
	l := c.loop
	due := balance.Instant(l.donesDue.Load())
	if mayWait := due == 0 || stays && now < due; mayWait && !l.asksGathered.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.donesDue.Store(0)
	if !l.asksGathered.Swap(false) && now < due {
		l.armFlushLocked()
		return
	}
	l.flushNowLocked()
}

// flushNowLocked writes what is gathered without blocking. It unlocks mu during the write.
func (l *connLoop) flushNowLocked() {
	conn, s := l.conn, l.proto.base()
	if conn != nil && l.turn == turnFree && l.proto.awaitsReply() {
		l.reclaimTurnLocked() // the answer to an Ask has no picker that reads it
	}
	if l.writing || conn == nil || len(s.out) == 0 {
		return
	}
	if to, ok := conn.(drivable); ok {
		l.writing = true
		buf := l.takeOutputLocked()
		l.mu.Unlock()
		n, err := to.tryWrite(buf)
		l.mu.Lock()
		switch {
		case err != nil:
			l.closeConnLocked(conn, err)
		case n < len(buf) && l.conn == conn:
			s.out = append(slices.Clone(buf[n:]), s.out...)
		}
		l.recycleOutputLocked(buf)
		l.writing = false
		l.writeDone.Broadcast()
	}
	if l.hasUnwrittenLocked(conn) {
		l.requestWrite()
	}
}
