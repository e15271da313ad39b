package client

import (
	"context"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// ConnPoller reads a connection instead of its Client's goroutine: an event loop that waits for many descriptors
// anyway and would otherwise have to be woken for each answer.
type ConnPoller interface {
	// PollConn hands over a connection. descriptor is a copy of its descriptor, which the driver moves, watches
	// and closes. From then on the driver calls read whenever there is something to read, once at the
	// beginning, and after a hang-up, until read returns false. Drive does not block. It returns false if the
	// driver has ended.
	PollConn(descriptor *fd.FD, read func() (more bool)) bool
}

// pollable is a connection that a Driver can read.
type pollable interface {
	copyFD() (fd.FD, error)
	tryRead(p []byte) (int, error)  // EAGAIN: there is nothing to read
	tryWrite(p []byte) (int, error) // writes as much as the socket takes
	hasUnsent() bool                // part of what tryWrite accepted is not sent; the next Write sends it
	shortReadIsLast() bool          // a read that did not fill its buffer has emptied the connection
}

// Poll has d read the current and all later connections, instead of a goroutine or a picker. Only Linux
// supports it; elsewhere it has no effect.
func (c *Client) Poll(d ConnPoller) { c.loop.setPoller(d) }

// Unpoll ends what Drive began, unless another driver has followed d.
func (c *Client) Unpoll(d ConnPoller) { c.loop.unsetPoller(d) }

func (l *connLoop) unsetPoller(d ConnPoller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poller != d {
		return
	}
	if l.poller = nil; l.turn == turnPoller {
		l.reclaimTurnLocked()
	}
}

func (l *connLoop) setPoller(d ConnPoller) {
	l.mu.Lock()
	l.poller = d
	if l.turn == turnFree {
		l.reclaimTurnLocked() // the loop goroutine hands over after its next read
	}
	conn, driven := l.conn.(pollable)
	driven = driven && l.turn == turnPoller
	l.mu.Unlock()
	if driven && !l.handToPoller(conn, d) {
		l.unsetPoller(d)
	}
}

// reclaimTurnLocked gives the turn back to the loop goroutine.
func (l *connLoop) reclaimTurnLocked() {
	l.turn = turnLoop
	l.readerWake <- struct{}{}
}

// handToPoller hands a connection over to the driver.
func (l *connLoop) handToPoller(conn pollable, d ConnPoller) bool {
	descriptor, err := conn.copyFD()
	if err != nil {
		return false
	}
	defer descriptor.Close() // no effect if the driver has moved it
	return d.PollConn(&descriptor, func() bool { return l.pollerRead(conn, d) })
}

// pollerRead is a driver's read.
func (l *connLoop) pollerRead(conn pollable, d ConnPoller) (more bool) {
	l.pollerReading.Lock()
	defer l.pollerReading.Unlock()
	for l.isPolledBy(conn, d) {
		free := l.buf[l.buffered:]
		n, err := conn.tryRead(free)
		if err == syscall.EAGAIN {
			return true
		}
		if bad := l.receiveBytes(context.Background(), n); bad != nil {
			err = bad
		}
		if err != nil {
			l.pollerFailed(err)
			return false
		}
		if n < len(free) && conn.shortReadIsLast() {
			return true
		}
	}
	return false
}

func (l *connLoop) isPolledBy(conn pollable, d ConnPoller) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn == turnPoller && l.poller == d && any(l.conn) == any(conn)
}

// pollerFailed records the error that ended a driver's read.
func (l *connLoop) pollerFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setReadErrorLocked(err)
	if l.turn == turnPoller {
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

// ReturnLease ends a lease as Done does, but leaves the message for the next Flush.
func (c *Client) ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
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
	if to, ok := conn.(pollable); ok {
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
