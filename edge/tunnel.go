package edge

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// tunnel joins two connections of a loop: bytes of either peer are sent to the other, and so are half-closes
// and resets. It keeps only what one of them does not take.
type tunnel struct {
	sides    [2]tunnelSide // the client's and the server's
	brokenBy int           // the side that broke off first, as its index plus one; zero: neither

	// While it closes.
	pause  time.Duration // until the next attempt
	paused time.Duration // so far
}

// tunnelSide is one side of a tunnel, and what is sent there.
type tunnelSide struct {
	*conn
	out         sendBuffer
	received    int64 // bytes for this side that were read at the other
	spliceScore int   // full reads for this side in a row, then credit for splicing; zero: the last read was short
	closed      bool  // nothing more is sent there
	peerReset   bool  // its peer has reset the connection
}

const (
	spliceAfter = 2        // full reads in a row, after which the kernel moves the bytes
	spliceLeast = 16 << 10 // bytes of a splice that pays
	spliceDoubt = 16       // smaller splices, after which reading resumes
)

// start joins a client's and a server's connection. Their send buffers are sent first.
func (j *tunnel) start(client, server *conn, down, up sendBuffer) {
	*j = tunnel{sides: [2]tunnelSide{clientSide: {conn: client, out: down}, serverSide: {conn: server, out: up}}}
}

// pump moves what can be moved now, and reports whether both directions have ended.
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

// relay moves once from one side to the other. It returns false if there was nothing or it is not taken.
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
		j.closeBoth() // the connection has ended, not what the peer had to send
	case !dst.allSent():
		src.readable = true // its end is read again when that has gone
	default:
		dst.closed = true
		_ = dst.out.closeWrite(dst.conn) // on failure the next read returns the error
	}
	return false
}

// receive moves bytes from src: in the kernel, if there are many.
func (dst *tunnelSide) receive(src *tunnelSide) (n int64, readErr, writeErr error) {
	if dst.spliceScore >= spliceAfter && dst.canSplice() && src.canSplice() {
		n, readErr = dst.out.spliceFrom(src.conn, pipeSize)
		if readErr != errNoPipe || dst.out.pipe != nil {
			dst.updateScore(n >= spliceLeast)
			return n, readErr, nil
		}
	}
	buf := src.loop.readBuf
	m, readErr := src.read(buf)
	switch {
	case readErr != nil:
		return 0, readErr, nil
	case m == 0:
		return 0, io.EOF, nil
	case m < len(buf):
		dst.spliceScore = 0
	default:
		dst.spliceScore++
		dst.updateScore(true)
	}
	_, writeErr = dst.out.write(dst.conn, buf[:m])
	return int64(m), nil, writeErr
}

// updateScore updates the credit for splicing.
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

// setBroken records that a side takes or sends no more. A peer that takes no more may have sent its end before
// (EPIPE): that is still read. Any other error ends the connection, and what was on its way is lost.
func (j *tunnel) setBroken(side int, err error) {
	if j.brokenBy == 0 {
		j.brokenBy = side + 1
	}
	if !errors.Is(err, syscall.EPIPE) {
		j.sides[side].peerReset = true
	}
}

// abort ends both directions, in the middle of the data.
func (j *tunnel) abort() {
	j.closeBoth()
	if j.brokenBy == 0 {
		j.brokenBy = clientSide + 1
	}
}

// closeBoth records that nothing more is sent either way.
func (j *tunnel) closeBoth() { j.sides[0].closed, j.sides[1].closed = true, true }

// brokeOff returns which side broke off first, or noSide.
func (j *tunnel) brokeOff() int { return j.brokenBy - 1 }

// sendEarly sends a side what had come for it before the tunnel began.
func (j *tunnel) sendEarly(to int, p []byte) {
	a := &j.sides[to]
	a.received += int64(len(p))
	if _, err := a.out.write(a.conn, p); err != nil {
		a.closed = true
		j.setBroken(to, err)
	}
}

// progress returns how many bytes were moved, both ways.
func (j *tunnel) progress() int64 { return j.movedTo(0) + j.movedTo(1) }

// movedTo returns how many bytes were sent to a side.
func (j *tunnel) movedTo(side int) int64 {
	a := &j.sides[side]
	if a.conn == nil {
		return 0
	}
	return max(0, a.received-a.out.pendingBytes()-a.unsentBytes())
}

// isStuck reports whether a side does not take what is there for it.
func (j *tunnel) isStuck(side int) bool { return !j.sides[side].out.empty() }

// closeGracefully closes both connections and reports whether it is done. If one was reset so is the other,
// but if possible not before its peer's machine has what was sent to it: a reset overtakes all data. Until it
// is done it has to be called again after the pause.
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
		case patient && j.paused < maxCloseWait && !a.peerReset && a.fd.Unacked():
			done = false
		default:
			a.out.discard(a.loop)
			a.conn.resetClose()
		}
	}
	return done
}

// resetClose closes the descriptor so that the peer sees a reset instead of an end.
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

// maxCloseWait is how long a peer may take for what is on its way to it after the other side has broken off.
const maxCloseWait = 5 * time.Second
