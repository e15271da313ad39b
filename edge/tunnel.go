package edge

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// tunnel joins two ends of a loop, as a joint joins two connections for goroutines:
// what either peer sends reaches the other, and either end of the one, in good order or
// not, is the same to the other. It has memory only for what one of them does not take.
type tunnel struct {
	sides    [2]tunnelSide // the client's and the server's
	brokenBy int           // which of them broke off first, or takes no more, as its index and one; zero: neither

	// While it settles.
	pause  time.Duration // until it is looked at again
	paused time.Duration // so far
}

// tunnelSide is one side of a junction, and what goes there.
type tunnelSide struct {
	*conn
	out         sendBuffer
	received    int64 // bytes for this side that have been read at the other
	spliceScore int   // reads for it that have shown that there is much; zero: the last did not
	closed      bool  // nothing more goes there
	peerReset   bool  // its peer has broken the connection off
}

const (
	spliceAfter = 2        // full reads in a row, after which bytes move unseen
	spliceLeast = 16 << 10 // bytes of a move that show that it still pays
	spliceDoubt = 16       // moves of less, after which it does no more
)

// start makes a junction of a client's end and a server's. What is on its way to them goes first.
func (j *tunnel) start(client, server *conn, down, up sendBuffer) {
	*j = tunnel{sides: [2]tunnelSide{clientSide: {conn: client, out: down}, serverSide: {conn: server, out: up}}}
}

// pump moves what can be moved now, and reports whether both ways have come to their end.
func (j *tunnel) pump() (over bool) {
	client, server := &j.sides[clientSide], &j.sides[serverSide]
	for turn := client.loop.newTurn(); ; turn.Spend(limits.TurnCall) {
		up := j.relay(serverSide, clientSide)
		if down := j.relay(clientSide, serverSide); !up && !down {
			break
		}
		if turn.Over(clock.Now) {
			client.loop.deferConn(client.conn)
			break
		}
	}
	client.out.releaseIfEmpty(client.loop)
	server.out.releaseIfEmpty(server.loop)
	return client.closed && server.closed
}

// relay moves what has come from one side to the other, once; false: there was nothing, or
// it is not taken.
func (j *tunnel) relay(to, from int) bool {
	dst, src := &j.sides[to], &j.sides[from]
	if dst.closed {
		return false
	}
	if !src.readable && dst.out.empty() && dst.unsentTail == nil {
		return false
	}
	clear, err := dst.out.flush(dst.conn)
	if err != nil {
		dst.closed = true
		j.setBroken(to, err)
		return false
	}
	if !clear || !src.readable {
		return false
	}
	n, readErr, writeErr := dst.receive(src)
	switch dst.received += n; {
	case writeErr != nil:
		dst.closed = true
		j.setBroken(to, writeErr)
	case readErr == nil:
		return true
	case readErr == syscall.EAGAIN:
	case readErr != io.EOF:
		j.setBroken(from, readErr)
		j.closeBoth()
	case src.peerReset:
		j.closeBoth() // the end is that of the connection, not of what its peer had to say
	case !dst.allSent():
		src.readable = true // its end is seen again when that has gone
	default:
		dst.closed = true
		_ = dst.out.closeWrite(dst.conn) // if it fails, whoever reads there sees why
	}
	return false
}

// receive moves what has come at src: inside the kernel, if there is much.
func (dst *tunnelSide) receive(src *tunnelSide) (n int64, readErr, writeErr error) {
	if dst.spliceScore >= spliceAfter && dst.canSplice() && src.canSplice() {
		n, readErr = dst.out.spliceFrom(src.conn, pipeSize)
		if readErr != errNoPipe || dst.out.pipe != nil {
			dst.updateScore(n >= spliceLeast)
			return n, readErr, nil
		}
	}
	room := src.loop.readBuf
	m, readErr := src.read(room)
	switch {
	case readErr != nil:
		return 0, readErr, nil
	case m == 0:
		return 0, io.EOF, nil
	case m < len(room):
		dst.spliceScore = 0
	default:
		dst.spliceScore++
		dst.updateScore(true)
	}
	_, writeErr = dst.out.write(dst.conn, room[:m])
	return int64(m), nil, writeErr
}

// updateScore remembers how much there was.
func (dst *tunnelSide) updateScore(much bool) {
	switch {
	case dst.spliceScore < spliceAfter:
	case much:
		dst.spliceScore = spliceAfter + spliceDoubt
	default:
		if dst.spliceScore--; dst.spliceScore < spliceAfter {
			dst.spliceScore = 0
		}
	}
}

// setBroken says that a side takes no more, or gives no more. A peer that takes no more may
// have ended what it had to say in good order before (EPIPE): that is still to be read. Any
// other error is the connection's end: what was on its way (ETIMEDOUT, if the peer vanished) arrives no more.
func (j *tunnel) setBroken(side int, err error) {
	if j.brokenBy == 0 {
		j.brokenBy = side + 1
	}
	if !errors.Is(err, syscall.EPIPE) {
		j.sides[side].peerReset = true
	}
}

// abort ends both ways, amid whatever is being said.
func (j *tunnel) abort() {
	j.closeBoth()
	if j.brokenBy == 0 {
		j.brokenBy = clientSide + 1
	}
}

// closeBoth says that nothing more goes either way.
func (j *tunnel) closeBoth() { j.sides[0].closed, j.sides[1].closed = true, true }

// brokeOff tells who broke off first, or noSide.
func (j *tunnel) brokeOff() int { return j.brokenBy - 1 }

// sendEarly sends a side what had come for it before it was joined.
func (j *tunnel) sendEarly(to int, p []byte) {
	a := &j.sides[to]
	a.received += int64(len(p))
	if _, err := a.out.write(a.conn, p); err != nil {
		a.closed = true
		j.setBroken(to, err)
	}
}

// progress is how many bytes have gone to either side.
func (j *tunnel) progress() int64 { return j.movedTo(0) + j.movedTo(1) }

// movedTo is how many bytes have gone to a side.
func (j *tunnel) movedTo(side int) int64 {
	a := &j.sides[side]
	if a.conn == nil {
		return 0
	}
	return max(0, a.received-a.out.pendingBytes()-a.unsentBytes())
}

// isStuck reports whether a side does not take what is there for it.
func (j *tunnel) isStuck(side int) bool { return !j.sides[side].out.empty() }

// closeGracefully closes both ends, and reports whether that is done. If one was broken off, so is
// the other, but not before its peer's machine has what was sent to it, if there is time
// for that: a reset overtakes everything. Until it is done, settle wants to be called
// again after the pause.
func (j *tunnel) closeGracefully(patient bool) bool {
	j.pause = min(max(wheelTick, 2*j.pause), 50*time.Millisecond)
	j.paused += j.pause
	done := true
	for i := range j.sides {
		a := &j.sides[i]
		switch {
		case !a.isOpen():
		case j.brokenBy == 0:
			a.out.discard(a.loop)
			a.conn.close()
		case patient && j.paused < outMost && !a.peerReset && a.fd.Unacked():
			done = false
		default:
			a.out.discard(a.loop)
			a.conn.resetClose()
		}
	}
	return done
}

// resetClose closes the descriptor so that nobody takes its end for one in good order.
func (c *conn) resetClose() {
	if c.isOpen() {
		c.fd.ResetOnClose() // a connection that is gone needs none
		c.close()
	}
}

const (
	clientSide = 0
	serverSide = 1
	noSide     = -1
)

// outMost is how long a peer may take for what is on its way to it when the other has broken off.
const outMost = 5 * time.Second
